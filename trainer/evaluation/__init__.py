"""The paper's tables of results (4 to 6), for any model with `embed_audio` and `embed_text`.

An evaluator is a small class: a frozen configuration, `measure(model)` with everything that a table or a result file
needs, and `run(model)` that yields `(name, value)` for a training log. The training loop and `mulan evaluate` use the
same ones. Nothing heavy (scikit-learn, matplotlib, transformers, numba) is imported before an evaluator needs it.
"""
