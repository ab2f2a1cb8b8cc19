"""A procedural world of moving shapes whose truth is known exactly: demo, tests and smoke training.

world      scenes and events, drawn from a seed
render     a scene at given times → pixels, or a real mp4 file
language   names, captions and the response a perfect model would write
questions  questions about a scene, open and multiple choice, with their answers
demo       the sample clip of `vt demo`
"""
