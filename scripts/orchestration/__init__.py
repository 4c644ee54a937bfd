"""The engine beside other task queues, doing the same: chains of five steps that do nothing."""
