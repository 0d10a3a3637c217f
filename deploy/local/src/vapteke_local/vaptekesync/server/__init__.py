"""The running stand-in, and the two ways to control it: the class Server, and the control port for other processes."""
