"""The command `rechunk`: a chunk search over any number of samples, with a given student.

The stage `chunks` makes average chunks. Stage `cwt` searches better ones before its epochs, with the same
function (training/rechunk.py).
"""
