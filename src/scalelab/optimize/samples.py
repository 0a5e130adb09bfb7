"""What a trained model says to a fixed prompt, so that trials can be read side by side.

A sample is made once and kept with its trial, in the store itself.
"""

from urllib.parse import quote

from scalelab.core.errors import UserError
from scalelab.core.locations import DATA, embedded_text
from scalelab.core.text import safe
from scalelab.run.trained import load_trained
from scalelab.store.records import TrialDetails
from scalelab.store.store import Store

NAME = "sample"
"""The artifact's name; its place is a `data:` URL."""

_TOKENS, _TEMPERATURE, _SEED = 200, 0.8, 0


def sample_text(store: Store, digest: str, data: str, where: str) -> str:
    """The sample of a trial, or the sentence that says why there is none."""
    try:
        return kept_sample(store, digest, data, where)
    except UserError as fault:
        return f"({fault.what})"


def kept_sample(store: Store, digest: str, data: str, where: str) -> str:
    """The sample of a trial: the kept one, or one that is made now and kept.

    Raises UserError where its model can write none.
    """
    stored = store.trial(digest)
    place = stored.artifacts.get(NAME)
    if place is not None:
        return embedded_text(place)
    text = sample(stored, data, where)
    store.attach(digest, NAME, f"{DATA}text/plain,{quote(text)}")
    return text


def sample(stored: TrialDetails, data: str, where: str) -> str:
    """What a trained model says: the same prompt and draws for every trial of a task.

    Raises UserError where it can say nothing.
    """
    from scalelab.generate import GREEDY, Sampling, fill, stream, whole
    from scalelab.tasks import vocabulary

    trained = load_trained(stored, data, where)
    model, device, words = trained.model, trained.device, vocabulary(trained.data)
    if words.gap is not None:
        ids = words.encode(words.example())
        [filled] = fill(model, words, ids, 1, limit=_TOKENS, sampling=GREEDY, device=device)
        return f"{words.decode(ids)}\n\n{filled.text}"
    asked = trained.data.questions_with_answers()
    if asked:
        prompts = [question for question, _ in asked]
        limit = max(len(answer) for _, answer in asked) + 1
    else:
        prompts, limit = [words.example()], _TOKENS
    temperature = _TEMPERATURE * trained.data.task.temperature
    sampling = Sampling(temperature=temperature, seed=_SEED) if temperature else GREEDY
    said = whole(
        stream(model, words, prompts, limit=limit, sampling=sampling, device=device), len(prompts)
    )
    if asked:
        return "\n".join(
            _marked(question, one.text, answer)
            for (question, answer), one in zip(asked, said, strict=True)
        )
    return words.decode(words.encode(prompts[0])) + said[0].text


def _marked(question: str, said: str, answer: str) -> str:
    """`1+2=3`, or `1+2=4 (it is 3)`: one line, whatever was said."""
    return (
        question
        + safe(said.replace("\n", "\x00"))
        + ("" if said == answer else f" (it is {answer})")
    )
