"""The whole stack: the servers, the services over them, and the file that describes what runs."""
