"""The fields of searches, declared like the others in `akidb.domain.fields`."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from akidb.domain.batches import check_id, check_number
from akidb.domain.documents import (
    MAX_GROUP_SIZE,
    MAX_ID_BYTES,
    MAX_QUESTIONS,
    MAX_TEXT_BYTES,
    MAX_TOP_K,
    SearchMode,
)
from akidb.domain.entities import MAX_DIMENSION, MIN_DIMENSION
from akidb.domain.errors import InvalidArgument
from akidb.domain.fields import VectorLike, field, text, whole, word
from akidb.domain.fusion import MAX_WEIGHT, FusionWeights, check_weights
from akidb.domain.names import check_flag
from akidb.domain.parts import MAX_FIELD_BYTES, check_group_field
from akidb.domain.questions import check_question_ids, check_question_vectors, check_questions

DEFAULT_RECALL = 0.95


def check_recall(value: object, field: str) -> float:
    """Check a share that is more than 0."""
    number = check_number(value, field)
    if not 0 < number <= 1:
        raise InvalidArgument(field, f"must be more than 0 and at most 1, not {number}")
    return number


Query = Annotated[
    str,
    text(
        "The text to search for. It is embedded by the collection's model, unless mode is keyword or a vector"
        " is given.",
        MAX_TEXT_BYTES,
    ),
]
Comparing = Annotated[
    SearchMode,
    word(
        SearchMode, "What to compare: the vectors (vector), the words of texts (keyword), or both (hybrid)."
    ),
]
Weights = Annotated[
    Mapping[str, float],
    field(
        check_weights,
        f"The weights of the two rankings of hybrid, `vector` and `keyword`: 0-{MAX_WEIGHT}, 1 by default.",
        wire=FusionWeights,
    ),
]
Highlights = Annotated[
    bool, field(check_flag, "Return the best part of each text, with the words searched for marked.")
]
QueryVector = Annotated[
    VectorLike,
    field(
        lambda value, _: value,  # checked once the collection's dimension and metric are known
        "The vector to search for.",
        wire=list[float],
        is_decoded=True,
        minItems=MIN_DIMENSION,
        maxItems=MAX_DIMENSION,
    ),
]
DocumentRef = Annotated[
    str,
    field(
        check_id,
        "The id of a document, to search for others with a vector like its own.",
        minLength=1,
        maxLength=MAX_ID_BYTES,
    ),
]
Queries = Annotated[
    Sequence[str],
    field(
        check_questions,
        "Texts to search for; they require a collection with an embedding model.",
        wire=list[str],
        minItems=1,
        maxItems=MAX_QUESTIONS,
    ),
]
QueryVectors = Annotated[
    Sequence[VectorLike],
    field(
        check_question_vectors,  # the vectors themselves once the collection's dimension is known
        "Vectors to search for.",
        wire=list[list[float]],
        is_decoded=True,
        minItems=1,
        maxItems=MAX_QUESTIONS,
    ),
]
DocumentRefs = Annotated[
    Sequence[str],
    field(
        check_question_ids,
        "Ids of documents, to search for others with vectors like theirs.",
        wire=list[str],
        minItems=1,
        maxItems=MAX_QUESTIONS,
    ),
]
TopK = Annotated[int, whole("Maximum number of matches to return.", 1, MAX_TOP_K)]
GroupField = Annotated[
    str,
    field(
        check_group_field,
        "Group the matches by this field of the metadata, named as in a filter: `top_k` groups of the best"
        " documents with the same value. Documents without a value are left out.",
        minLength=1,
        maxLength=MAX_FIELD_BYTES,
    ),
]
GroupSize = Annotated[int, whole("Maximum number of matches of a group.", 1, MAX_GROUP_SIZE)]
EfSearch = Annotated[
    int, whole("Number of candidates in a graph, instead of as many as reach `recall`.", 1, MAX_TOP_K)
]
Recall = Annotated[
    float,
    field(
        check_recall,
        "The share of the best matches that a search in a graph should find, by a measurement of the index;"
        f" {DEFAULT_RECALL} by default. With 1 all vectors are compared.",
        exclusiveMinimum=0,
        maximum=1,
    ),
]
Explain = Annotated[
    bool, field(check_flag, "Say in the statistics what was done in each part of the index, and why.")
]
Score = Annotated[float, field(check_number, "Omit matches with a score below this.")]
