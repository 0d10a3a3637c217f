"""How a process of ours runs: settings, logs, health, loops, shutdown."""
