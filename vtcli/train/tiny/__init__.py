"""Makes the embedded model `tiny` on the `shapes` world.

`python -m vtcli.train.tiny` trains its plain base from scratch; `vt train`, as any user runs it, does the rest
(`make tiny`).

checkpoint  the model's sizes, its tokenizer and the files of a Qwen2.5-VL folder
data        scenes → frames, token ids, positions and targets, in worker processes
forward     the model's own weights, run in batches that share the system prompt
fit         the stages of the base, from pixels to describing what happens
records     clips and questions, as data for `vt train`
evaluate    scores through vt's own engine, on clips not used for training
"""
