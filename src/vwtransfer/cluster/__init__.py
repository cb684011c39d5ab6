"""A study as jobs on many machines that share a folder: planned, submitted, watched, resumed.

    config -> shards -> survey (what is done, from the disk) -> status, plan -> submit -> worker

What these write lies under <outputs>/<name>/cluster/:

    config.yaml      the composed config of the latest submission
    left_out.json    models that a dataset has nothing to train or to measure with
    claims/          who works on which shard right now, a file each; its time is the heartbeat
    history/         what became of each shard: started, stopped, failed (with the log), finished
    submissions/     for each, which shards its jobs do, and submitit's scripts, pickles and logs
"""
