"""The papers' methods: one folder a part, one module a lab."""
