"""How the embedded model `tiny` is made on the `shapes` world: its plain base by `python -m vtcli.train.tiny`, from
nothing, and the rest by `vt train` as anybody runs it (`make tiny`).

checkpoint  the model's sizes, its tokenizer and the files of a Qwen2.5-VL folder
data        scenes → frames, token ids, positions and targets, in worker processes
forward     the model's own weights run in batches that share the system prompt
fit         the stages of the base, from pixels to telling what happens
records     clips and questions, as data for `vt train`
evaluate    scores through vt's own engine, on clips nobody trained on
"""
