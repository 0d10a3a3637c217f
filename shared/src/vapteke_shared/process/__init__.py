"""How our processes run: settings, logs, health, loops, the HTTP server, shutdown."""
