"""A kernel's websocket without Nagle's algorithm, for ``kernellab lab``'s server.

A kernel answers a slider with three small messages (busy, the answer, idle). With Nagle's
algorithm, tornado's default, the answer waits until the browser has acknowledged "busy", which its
operating system may put off for 40 ms: half of what passes between a move and its picture.

Used through ``ServerApp.kernel_websocket_connection_class``.
"""

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class PromptConnection(ZMQChannelsWebsocketConnection):
    """A connection that sends each message at once."""

    def connect(self):
        """Connect to the kernel, with the socket's delay switched off."""
        self.websocket_handler.set_nodelay(True)
        return super().connect()
