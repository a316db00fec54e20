"""The exercises of the labs: one folder a part, one module a lab."""
