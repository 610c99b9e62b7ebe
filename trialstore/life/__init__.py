"""What happens to a trial in its life, one verb a module; `trialstore.trial.Trial` is the noun that users hold."""
