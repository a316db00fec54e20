"""The kernel "python3" is the Python that runs `kernellab`, whatever else this machine offers.

It starts by way of ``_kernel``, which imports the labs' libraries ahead of the first cell.

A user's own kernel named python3, or one named in JUPYTER_PATH, would otherwise win: the lab would
open in an environment without kernellab.
"""

import ipykernel.kernelspec
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager

from kernellab.commands import _kernel


class OwnKernelSpecManager(KernelSpecManager):
    """Jupyter's kernel list, with python3 tied to this environment."""

    def _own(self):
        description = ipykernel.kernelspec.get_kernel_dict()
        description["argv"] = [
            _kernel.__name__ if word == "ipykernel_launcher" else word
            for word in description["argv"]
        ]
        return self.kernel_spec_class(
            resource_dir=str(ipykernel.kernelspec.RESOURCES), **description
        )

    def get_kernel_spec(self, kernel_name):
        """The description of one kernel."""
        if kernel_name == NATIVE_KERNEL_NAME:
            return self._own()
        return super().get_kernel_spec(kernel_name)

    def get_all_specs(self):
        """The descriptions of all kernels, by name."""
        own = self._own()
        specs = super().get_all_specs()
        specs[NATIVE_KERNEL_NAME] = {"resource_dir": own.resource_dir, "spec": own.to_dict()}
        return specs
