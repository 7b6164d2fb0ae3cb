"""The local daemon: one process for each user that runs tasks and tells every decision."""
