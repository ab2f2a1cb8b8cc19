"""How the embedded model `tiny` is made: `python -m vtcli.train.tiny` trains it from scratch on the `shapes` world.

checkpoint  the model's sizes, its tokenizer and the files of a Qwen2.5-VL folder
data        scenes → frames, token ids, positions and targets, in worker processes
forward     the model's own weights run in batches that share the system prompt
fit         the stages, from pixels to whole answers
evaluate    scores through vt's own engine, on clips nobody trained on
"""
