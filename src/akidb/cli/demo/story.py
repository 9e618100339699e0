"""The output of the demo, as text or as one JSON value."""

import time
from typing import Any

from akidb.cli.demo.indexing import Indexed, ensure
from akidb.cli.demo.parts import AKI, BUNKA, FOREIGN_QUESTION, PARTS
from akidb.cli.demo.questions import Answer, Isolation, ask, try_isolation
from akidb.cli.models import pull_with_progress
from akidb.cli.output import Output
from akidb.cli.session import Session
from akidb.operations.embeddings import GetModel

SHOWN_CHARACTERS = 72


def tell(session: Session) -> None:
    """Create the tenants, index their texts, search them, and show that they are isolated."""
    out, operations, model = session.out, session.operations, session.settings.default_model
    if not operations.perform(GetModel(model=model)).installed:
        out.note(f"downloading the embedding model {model}")
        pull_with_progress(out, operations, model)
    indexed = ensure(operations, out, PARTS, model)
    _tell_indexed(out, indexed)

    began = time.perf_counter()
    for part in PARTS:  # warm up: load the model and the vectors, so that the times below are search times
        ask(operations, part, part.questions[0])
    out.note(f"ready after {time.perf_counter() - began:.1f} s")

    answers = [ask(operations, part, question) for part in PARTS for question in part.questions]
    isolation = try_isolation(operations, AKI, BUNKA, FOREIGN_QUESTION)
    if out.json:
        out.value(_as_json(indexed, answers, isolation))
        return
    for part in PARTS:
        _tell_heading(out, f"{part.name} stores {part.about}:")
        for answer in answers:
            if answer.tenant == part.slug:
                _tell_answer(out, answer)
    _tell_isolation(out, isolation)
    _tell_how_to_go_on(session)


def _tell_indexed(out: Output, indexed: Indexed) -> None:
    if indexed.written:
        rate = indexed.written / indexed.seconds
        out.note(f"indexed {indexed.written:,} texts in {indexed.seconds:.1f} s, {rate:,.0f} texts/s")
    else:
        out.note(f"found {indexed.texts:,} texts indexed by an earlier run")


def _tell_heading(out: Output, heading: str) -> None:
    out.text()
    out.text(heading, style="bold")


def _tell_answer(out: Output, answer: Answer) -> None:
    out.text()
    out.text(f"  {answer.question}  ({answer.milliseconds:.1f} ms)", style="cyan")
    for match in answer.matches:
        words = " ".join((match.text or "").split())
        cut = words if len(words) <= SHOWN_CHARACTERS else f"{words[: SHOWN_CHARACTERS - 1]}…"
        out.text(f"    {match.score:.3f}  {cut}")


def _tell_isolation(out: Output, isolation: Isolation) -> None:
    _tell_heading(out, f"{AKI.name} searches for what only {BUNKA.name} has, and finds only its own texts:")
    _tell_answer(out, isolation.answer)
    best = isolation.better.matches[0]
    out.text()
    out.text(f"  best match in {BUNKA.name}: {best.score:.3f}  {best.id}")
    _tell_heading(out, f"{AKI.name} requests a database of {BUNKA.name} by ID, then one that does not exist:")
    out.text(f"    {isolation.refusal}")
    out.text(f"    {isolation.unknown_refusal}")


def _tell_how_to_go_on(session: Session) -> None:
    path = "/".join(map(str, AKI.path))
    program = session.program
    _tell_heading(session.out, "Next steps:")
    session.out.text(f'    {program} search {path} "read a zip archive"')
    session.out.text(f"    {program} tenant list")
    session.out.text(f"    {program} serve")


def _as_json(indexed: Indexed, answers: list[Answer], isolation: Isolation) -> dict[str, Any]:
    rate = indexed.written / indexed.seconds if indexed.written else None
    return {
        "texts": indexed.texts,
        "written": indexed.written,
        "seconds": round(indexed.seconds, 3),
        "texts_per_second": rate and round(rate, 1),
        "answers": answers,
        "isolation": isolation,
    }
