"""Running trials: on worker processes by default, on any `concurrent.futures.Executor` when given one."""
