"""The command `rechunk`: a chunk search over any number of samples, with a given student.

Stage `cwt` starts from average chunks and searches better ones before its epochs, with the same
function (training/rechunk.py).
"""
