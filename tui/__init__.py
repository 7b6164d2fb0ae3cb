"""The Textual app. Talks to the daemon through ``runtime.daemon.client``, and to nothing else."""
