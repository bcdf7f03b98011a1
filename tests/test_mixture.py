"""The stream of samples: decided by seed and number, fair to every source at every moment, clear
about its faults."""

import json
import os
import re
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from vlm3 import mixture
from vlm3.focal import unify_pair
from vlm3.geometry import Camera
from vlm3.mixture import Mixture, NoSample, Source, shuffled
from vlm3.qwen import batching, packing, tokenizer
from vlm3.reference import PixelText
from vlm3.sources import photos
from vlm3.sources.rooms import COLLECTIONS, Rooms
from vlm3.sources.rooms.stands import GRADES
from vlm3.tasks.objects import OPPOSITES
from vlm3.views import NothingToAsk, Pair, Sample, View

RECORD = Path(__file__).parents[1] / "book" / "record"
CAMERA = Camera(1000, 1000, 16, 16, 32, 32)  # of a view that unification leaves as it is


def _view(colour: int) -> View:
    return View(
        np.full((32, 32, 3), colour, np.uint8), CAMERA, np.full((32, 32), 1 + colour, np.float32)
    )


def _pair(colour: int, *matches: tuple[float, float, float, float]) -> Pair:
    uv = np.array(matches).reshape(-1, 4)
    return Pair(_view(colour), _view(colour), uv[:, :2], uv[:, 2:])


def _mixture(weights="uniform", seed: int = 0, **sizes: int) -> Mixture:
    sources = {
        name: Source([_view(k) for k in range(size)], "depth", 3) for name, size in sizes.items()
    }
    return Mixture(sources, weights, seed)


def _seen(sample: Sample) -> tuple:
    return sample.source, sample.views[0].image[0, 0, 0], sample.qas


# The stream


def test_a_sample_is_decided_by_seed_and_number_alone():
    in_order = [_seen(_mixture(a=5, b=3)[i]) for i in range(20)]
    mixed = _mixture(a=5, b=3)
    for i in np.random.default_rng(0).permutation(20):
        assert _seen(mixed[i]) == in_order[i]
    assert [_seen(_mixture(seed=1, a=5, b=3)[i]) for i in range(20)] != in_order
    with pytest.raises(IndexError, match="sample -1"):
        mixed[-1]


def test_the_questions_about_an_item_are_others_in_the_next_pass():
    stream = _mixture(a=1)
    assert stream[0].qas != stream[1].qas


def test_no_item_comes_again_before_all_have_come():
    sizes = {"a": 7, "b": 4, "c": 1}
    stream = _mixture(**sizes)
    draws = [stream.draw(i) for i in range(200)]
    for name, size in sizes.items():
        items = [draw.item for draw in draws if draw.source == name]
        orders = [items[i : i + size] for i in range(0, len(items) - size + 1, size)]
        assert len(orders) >= 9
        assert all(sorted(order) == list(range(size)) for order in orders)
        assert len(set(map(tuple, orders))) >= min(size, 8)
        assert [d.passes for d in draws if d.source == name] == [
            i // size for i in range(len(items))
        ]


@pytest.mark.parametrize(
    "weights", [{"a": 0.7, "b": 0.2, "c": 0.1}, "uniform", {"a": 1, "b": 1, "c": 1e-3}]
)
def test_no_source_is_ever_more_than_a_draw_from_its_share(weights):
    """At some time t each has had within one draw of w t; so any two are less than a draw of each
    apart."""
    stream, counts = _mixture(weights, a=9, b=9, c=9), Counter()
    for n in range(1, 400):
        counts[stream.draw(n - 1).source] += 1
        had = [counts[name] for name in "abc"]
        assert np.abs(had - n * stream.shares).max() < 3
        for k, other in combinations(range(3), 2):
            gap = had[k] / stream.shares[k] - had[other] / stream.shares[other]
            assert abs(gap) < 1 / stream.shares[k] + 1 / stream.shares[other]


def test_counts_and_passes_are_those_of_the_draws():
    stream, counts = _mixture({"a": 5, "b": 2, "c": 1}, a=9, b=3, c=50), Counter(a=0, b=0, c=0)
    for n in range(150):
        assert stream.counts(n) == counts
        assert stream.passes(n) == {
            "a": counts["a"] / 9,
            "b": counts["b"] / 3,
            "c": counts["c"] / 50,
        }
        counts[stream.draw(n).source] += 1
    assert json.loads(json.dumps(stream.counts(150))) == counts


def test_the_order_of_sources_has_no_period():
    stream = _mixture(a=9, b=9)
    order = [stream.draw(i).source for i in range(600)]
    assert all(
        any(x != y for x, y in zip(order, order[period:], strict=False)) for period in range(1, 300)
    )
    firsts = Counter(
        order[::2]
    )  # equal shares: each stretch of time has one of both, in either order
    assert all(set(order[i : i + 2]) == {"a", "b"} for i in range(0, 600, 2))
    assert 120 < firsts["a"] < 180


def test_an_item_of_billions_is_found_without_going_through_them():
    class Endless:
        def __len__(self):
            return 2**31

        def __getitem__(self, index):
            asked.append(index)
            return _view(index % 200)

    asked = []
    stream = Mixture({"huge": Source(Endless(), "depth"), "small": Source([_view(0)], "depth")})
    draws = [stream.draw(i) for i in (*range(1000), 10**12)]
    assert len({draw.item for draw in draws}) > 990
    assert draws[-1].passes == 10**12 // 2**31
    assert max(draw.item for draw in draws) > 2**30
    stream[5]
    assert asked == [draws[5].item]
    assert abs(stream.counts(2**31 + 1)["small"] - 1) <= 1


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 10, 97, 100, 101, 1000])
def test_every_place_of_a_shuffled_range_is_taken_once(size):
    orders = [[shuffled(place, size, (seed, 1)) for place in range(size)] for seed in range(5)]
    assert all(sorted(order) == list(range(size)) for order in orders)
    assert len(set(map(tuple, orders))) == 5 or size < 5


def test_all_orders_of_a_small_range_are_about_equally_likely():
    orders = Counter(
        tuple(shuffled(place, 4, (0, 1, key)) for place in range(4)) for key in range(4800)
    )
    assert len(orders) == 24
    assert (
        120 < min(orders.values()) <= max(orders.values()) < 290
    )  # 200 expected; the spread of chance is 14


# Weights


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("uniform", (1 / 2, 1 / 2)),
        (0, (1 / 2, 1 / 2)),
        ("size", (1 / 101, 100 / 101)),
        (1, (1 / 101, 100 / 101)),
        (0.5, (1 / 11, 10 / 11)),
        (-0.5, (10 / 11, 1 / 11)),
        ({"b": 1, "a": 3}, (3 / 4, 1 / 4)),
    ],
)
def test_shares_follow_the_weights(weights, expected):
    assert _mixture(weights, a=1, b=100).shares == pytest.approx(expected)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("sise", "'uniform', 'size', a power of the size, or a number for each: 'sise'"),
        (float("nan"), "a power of the size, or a number for each: nan"),
        (None, "a number for each: None"),
        ({"a": 1}, "only one of them has b"),
        ({"a": 1, "b": 1, "c": 1, "d": 1}, "only one of them has c, d"),
        ({"a": 1, "b": 0}, "must be positive, got {'a': 1, 'b': 0}: leave a source out"),
        ({"a": 1, "b": -1}, "must be positive"),
        ({"a": 1, "b": float("nan")}, "must be positive"),
        ({"a": 1, "b": float("inf")}, "must be positive"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        _mixture(weights, a=1, b=2)


def test_sources_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="at least one source"):
        Mixture({})
    with pytest.raises(ValueError, match="nothing to draw from b, c: leave empty sources out"):
        _mixture(a=1, b=0, c=0)
    with pytest.raises(ValueError, match="no task 'depht'"):
        Mixture({"a": Source([_view(0)], "depht")})


# Items


def test_the_next_item_takes_the_place_of_one_with_nothing_to_ask():
    full = (8.0, 8.0, 16.0, 8.0)
    items = [_pair(0), _pair(1, full), _pair(2), _pair(3), _pair(4, full), _pair(5)]
    stream = Mixture({"pairs": Source(items, "correspondence")})
    for i in range(12):
        item = stream.draw(i).item
        assert stream[i].views[0].image[0, 0, 0] == [1, 1, 4, 4, 4, 1][item]


def test_a_pair_is_needed_where_two_views_are_asked_about():
    stream = Mixture({"lone": Source([_view(0)], "pose")})
    with pytest.raises(NoSample, match="pose is asked about 2 views, and an item .* is 1"):
        stream[0]


def test_a_source_with_nothing_to_ask_anywhere_is_named():
    stream = Mixture({"dull": Source([_pair(0), _pair(1)], "correspondence")})
    with pytest.raises(
        NoSample, match="items of source 'dull' from . on give no question: the two views share"
    ):
        stream[0]


def test_an_item_that_fails_is_named_with_its_reason():
    without_depth = View(_view(0).image, CAMERA)
    stream = Mixture(
        {"good": Source([_view(1)], "depth"), "flat": Source([without_depth], "depth")}
    )
    at = next(i for i in range(10) if stream.draw(i).source == "flat")
    with pytest.raises(
        NoSample, match=f"sample {at}, item 0 of source 'flat': depth is unknown everywhere"
    ) as caught:
        stream[at]
    assert isinstance(caught.value.__cause__, ValueError)
    assert not isinstance(caught.value.__cause__, NothingToAsk)


def test_views_and_tuples_of_views_become_samples():
    wall_m = np.full((32, 32), 5, np.float32)
    both = tuple(View(_view(k).image, CAMERA, wall_m, world_from_cam=np.eye(4)) for k in (3, 4))
    stream = Mixture(
        {"one": Source([_view(7)], "depth", 5), "two": Source([both], "correspondence", 2)},
        "uniform",
    )
    found = {sample.source: sample for sample in (stream[0], stream[1])}
    one, two = found["one"], found["two"]
    assert ([v.image[0, 0, 0] for v in one.views], one.task, len(one.qas)) == ([7], "depth", 5)
    assert {qa.answer for qa in one.qas} == {"8.00"}
    assert ([v.image[0, 0, 0] for v in two.views], two.task, len(two.qas)) == (
        [3, 4],
        "correspondence",
        2,
    )


def test_a_pair_is_asked_about_its_own_matches():
    pair, reference = photos.motorcycle(), PixelText(2000)
    sample = Mixture({"stereo": Source([pair], "correspondence", 20, focal_px=300)})[0]
    unified = unify_pair(pair, focal_px=300)
    assert sample.views[0].camera.fx == pytest.approx(300)
    known = {reference.position(tuple(uv), sample.views[1].size) for uv in unified.uv2.tolist()}
    assert len(sample.qas) == 20
    assert all(qa.truth in known for qa in sample.qas)


def test_options_reach_the_task():
    def far(**options):
        return Mixture({"a": Source([_view(1)], "depth", 1, options=options)})[0].qas[0].truth

    assert far() == 2 < far(kind="range")
    with pytest.raises(ValueError, match="unknown options colour: those of depth are kind"):
        far(colour="red")


# Files

ROOMS = 'from = "vlm3.sources.rooms:Rooms"\ntask = "depth"\nfocal_px = 100\n'


def _read(folder, text: str, seed: int = 0) -> Mixture:
    (folder / "some.toml").write_text(text)
    return mixture.load(folder / "some.toml", seed)


def test_the_packaged_rooms_ask_all_four_tasks_in_the_words_that_they_teach():
    stream = mixture.load("rooms", seed=3)
    assert {s.task for s in stream.sources.values()} == {
        "depth",
        "objects",
        "correspondence",
        "pose",
    }
    assert {task: lesson["focal_px"] for task, lesson in stream.taught.items()} == dict.fromkeys(
        stream.taught, 100
    )
    depth = next(sample for sample in map(stream.__getitem__, range(9)) if sample.task == "depth")
    assert all(
        "from 0 to 100" in qa.question and re.fullmatch(r"\d+\.\d", qa.answer) for qa in depth.qas
    )
    sample = stream[0]
    assert sample.source == stream.draw(0).source
    assert sample.views[0].camera.fx == pytest.approx(100)
    assert (
        stream.draw(0)
        == mixture.load("rooms", seed=3).draw(0)
        != mixture.load("rooms", seed=4).draw(0)
    )


@pytest.mark.parametrize("grade", ["near", "middle", "far"])
def test_homes_are_asked_about_in_three_grades_of_pairs(grade):
    name = "homes" if grade == "near" else f"homes-{grade}"
    learned, tested = mixture.load(name), mixture.load(f"{name}-test")
    assert learned.taught == tested.taught == mixture.load("homes").taught
    for stream, split in ((learned, "train"), (tested, "test")):
        for source in stream.sources.values():
            assert (source.items.collection, source.items.split) == (COLLECTIONS["homes"], split)
            assert (source.items.views, source.items.grade) == (2, GRADES[grade])
    qas = next(s for s in map(learned.__getitem__, range(4)) if s.task == "depth").qas
    stem = os.path.commonprefix([qa.question for qa in qas])
    assert all(re.fullmatch(r"\(?\d+, \d+\)", qa.question[len(stem) :]) for qa in qas)


def test_all_tasks_ask_about_one_scene_after_another(monkeypatch):
    stream, made = mixture.load("homes", seed=3), []
    render = Rooms.batch
    monkeypatch.setattr(Rooms, "batch", lambda self, i: made.extend(i) or render(self, i))
    for scene in range(3):
        draws = [stream.draw(4 * scene + k) for k in range(4)]
        assert len({draw.item for draw in draws}) == 1
        assert {draw.source for draw in draws} == set(stream.names)
        shown = [view.image for k in range(4) for view in stream[4 * scene + k].views]
        assert len({image.tobytes() for image in shown}) <= 2
    assert len(made) == len(set(made)) == 3


def test_either_view_of_a_scene_comes_first():
    source = mixture.load("homes").sources["pose"]
    first = {
        source.sample(7, "", np.random.default_rng(k)).views[0].image.tobytes() for k in range(9)
    }
    assert len(first) == 2
    depth = mixture.load("homes").sources["depth"]
    assert {len(depth.sample(7, "", np.random.default_rng(k)).views) for k in range(9)} == {1}


def test_same_items_are_refused_for_sources_that_go_unlike_ways():
    source = mixture.load("homes").sources["depth"]
    fewer = replace(source, items=[source.items[0]])
    with pytest.raises(ValueError, match="one size and with equal weights"):
        Mixture({"a": source, "b": fewer}, "uniform", same_items=True)
    with pytest.raises(ValueError, match="one size and with equal weights"):
        Mixture({"a": source, "b": source}, {"a": 1, "b": 2}, same_items=True)


def test_a_file_sets_weights_arguments_and_options(tmp_path):
    stream = _read(
        tmp_path,
        f"""
        [sources.near]
        {ROOMS}
        weight = 3
        arguments = {{ collection = "small", split = "test", views = 1 }}
        [sources.far]
        {ROOMS}
        weight = 1
        questions = 2
        options = {{ kind = "range" }}
    """,
    )
    assert stream.description == {
        "near": {
            "place": 0,
            "origin": {
                "from": "vlm3.sources.rooms:Rooms",
                "arguments": {"collection": "small", "split": "test", "views": 1},
            },
            "size": 30,
            "share": 0.75,
            "task": "depth",
            "questions": 10,
            "focal_px": 100,
            "templates": {},
            "asked_in": stream.sources["near"].wordings,
            "options": {},
        },
        "far": {
            "place": 1,
            "origin": {"from": "vlm3.sources.rooms:Rooms", "arguments": {}},
            "size": 3000,
            "share": 0.25,
            "task": "depth",
            "questions": 2,
            "focal_px": 100,
            "templates": {},
            "asked_in": stream.sources["far"].wordings,
            "options": {"kind": "range"},
        },
    }
    assert json.loads(json.dumps(stream.description)) == stream.description


def test_a_source_is_another_one_once_its_task_asks_in_other_words():
    one, other = Source([], "depth"), Source([], "depth", templates={"note": "Count from {scale}."})
    assert one.wordings == Source([None], "depth", 3).wordings
    assert len({one.wordings, other.wordings, Source([], "pose").wordings}) == 3


def test_a_file_may_weigh_by_a_power_of_the_size(tmp_path):
    small = 'arguments = { collection = "small", split = "test" }\n'  # 30 scenes against 3000
    stream = _read(tmp_path, f"weights = 0.5\n[sources.a]\n{ROOMS}{small}[sources.b]\n{ROOMS}")
    assert stream.shares == pytest.approx([1 / 11, 10 / 11])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=ascii)
def test_a_file_that_a_windows_editor_saved_is_the_same_mixture(tmp_path, encoding, ends):
    said = f"# Stra\u00dfe\n[sources.a]\n{ROOMS}[sources.b]\n{ROOMS}"
    plain = _read(tmp_path, said).description
    (tmp_path / "some.toml").write_bytes(said.replace("\n", ends).encode(encoding))
    assert mixture.load(tmp_path / "some.toml").description == plain


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_a_mixture_in_another_encoding_is_named_in_one_line(tmp_path, encoding):
    (tmp_path / "some.toml").write_bytes(f"[sources.a]\n{ROOMS}# Stra\u00dfe".encode(encoding))
    with pytest.raises(ValueError, match=r"some\.toml: not a ") as told:
        mixture.load(tmp_path / "some.toml")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sources = [", "not a mixture"),
        ("", "at least one source"),
        ("sources = 3", "some.toml: `sources` must hold a table for each source"),
        ("[sources]\na = 3", "some.toml: `sources` must hold a table for each source"),
        ("like = 3", "some.toml: `like` must name a mixture or a list of them, got 3"),
        (f'weighs = "size"\n[sources.a]\n{ROOMS}', "some.toml: unknown weighs"),
        (
            f'weights = "size"\n[sources.a]\n{ROOMS}weight = 2',
            "some.toml: either `weights` or a weight for each source",
        ),
        (f"[sources.a]\n{ROOMS}weight = 0", "some.toml: weights must be positive"),
        (f"[sources.a]\n{ROOMS}weight = 1\n[sources.b]\n{ROOMS}", "only one of them has b"),
        (f"[sources.a]\n{ROOMS}colour = 1", "some.toml, source 'a': unknown colour: a source has"),
        (f'[sources.a]\n{ROOMS}augment = "no"', "source 'a': augment is true or false, got 'no'"),
        (
            f"[sources.a]\n{ROOMS}".replace("100", "'100'"),
            "focal_px is a number above 0, got '100'",
        ),
        (f"[sources.a]\n{ROOMS}questions = -1", "questions is a number above 0, got -1"),
        (f"[sources.a]\n{ROOMS}options = {{ om = 1 }}", "unknown options om: those of depth are"),
        (
            f'[sources.a]\nlike = "homes"\n{ROOMS}',
            "but there are none before it; .* like homes:depth",
        ),
        (f"[sources.a]\n{ROOMS.replace('vlm3.sources.rooms:Rooms', 'rooms')}", "module:callable"),
        ('like = "some.toml"', "some.toml: is `like` itself"),
        ('[sources.a]\ntask = "depth"', "some.toml, source 'a': 'from' is missing"),
        ('[sources.a]\nfrom = "vlm3.sources.rooms:Rooms"', "some.toml, source 'a': .*'task'"),
        (
            f"[sources.a]\n{ROOMS.replace('depth', 'depht')}",
            "some.toml, source 'a': no task 'depht'",
        ),
        (
            '[sources.a]\nfrom = "vlm3.sources.castles:Rooms"\ntask = "depth"',
            "source 'a': No module named",
        ),
        (
            '[sources.a]\nfrom = "vlm3.sources.rooms:Castles"\ntask = "depth"',
            "source 'a': .*no attribute 'Castles'",
        ),
        (
            f"[sources.a]\n{ROOMS}arguments = {{ colour = 1 }}",
            "'colour'; its arguments are collection",
        ),
        (
            f'[sources.a]\n{ROOMS}arguments = {{ collection = "tall" }}',
            "source 'a': no collection 'tall'",
        ),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        _read(tmp_path, text)


def test_a_missing_file_is_told_with_the_packaged_ones():
    with pytest.raises(
        FileNotFoundError, match="castles: no such mixture; give a TOML file, or one of .*rooms"
    ):
        mixture.load("castles")


def test_validation_and_test_rooms_are_asked_about_as_the_rooms_that_are_learned_from():
    learned = mixture.load("rooms")
    for name in ("validation", "test"):
        other = mixture.load(f"rooms-{name}")
        assert other.taught == learned.taught
        assert other.shares.tolist() == learned.shares.tolist()
        assert {s.items.split for s in other.sources.values()} == {name}


def test_rooms_relations_ask_as_rooms_do_but_for_one_of_two_opposites():
    (few,) = mixture.load("rooms-relations").sources.values()
    full = mixture.load("rooms").sources["objects"]
    left_out = {"relations": dict.fromkeys(OPPOSITES.values(), "")}
    assert (few.focal_px, few.questions) == (full.focal_px, full.questions)
    assert few.templates == {**full.templates, "statement": left_out, "choice": left_out}
    seen = {
        qa.truth.category
        for item in range(40)
        for qa in few.sample(item, "", np.random.default_rng(item)).qas
    }
    assert {c.split("_")[0] for c in seen if c.endswith(("_predicate", "_choice"))} == set(
        OPPOSITES
    )


def test_a_mixture_like_another_has_its_sources_and_its_own(tmp_path):
    table = f"[sources.more]\n{ROOMS}arguments = {{views = 1}}\nweight = 1\n"
    path = tmp_path / "mine.toml"
    path.write_text('like = "rooms-test"\narguments = {collection = "small"}\n' + table)
    found = mixture.load(path)
    assert found.names == ("depth", "objects", "correspondence", "pose", "more")
    assert found.sources["pose"].items.split == "test"
    assert [len(s.items) for s in found.sources.values()][:4] == [len(Rooms("small", "test"))] * 4


def test_a_mixture_like_another_may_change_the_weights_alone():
    rooms, objects = mixture.load("rooms"), mixture.load("rooms-objects")
    assert objects.taught == rooms.taught
    assert objects.names == rooms.names
    assert dict(zip(objects.names, objects.shares * 9, strict=True)) == pytest.approx(
        {"depth": 2, "objects": 4, "correspondence": 2, "pose": 1}
    )


def test_in_one_wording_the_questions_of_a_kind_differ_in_their_numbers_alone():
    source = replace(mixture.load("rooms").sources["depth"], one_wording=True)
    said = [source.sample(i, "", np.random.default_rng(i)).qas for i in range(12)]
    wordings = [{re.sub(r"[0-9]+", "", qa.question) for qa in qas} for qas in said]
    assert all(
        len(qas) == 12 and len(words) == 1 for qas, words in zip(said, wordings, strict=True)
    )
    assert len(set.union(*wordings)) > 1  # each sample draws anew
    before = replace(source, one_wording=False).sample(0, "", np.random.default_rng(0)).qas
    assert [qa.truth for qa in said[0]] != [] != [qa.truth for qa in before]


def test_one_wording_is_told_of_a_run_where_it_is_chosen_and_nowhere_else():
    told = {name: m.description for name in ("rooms", "rooms-brief") if (m := mixture.load(name))}
    assert not any("one_wording" in source for source in told["rooms"].values())
    brief = {name for name, source in told["rooms-brief"].items() if "one_wording" in source}
    assert brief == {"depth", "correspondence"}


def test_brief_rooms_ask_the_same_in_fewer_tokens_and_are_read_back():
    packaged = tokenizer.load()
    lengths = {}
    for name in ("rooms", "rooms-brief"):
        stream = mixture.load(name)
        samples = [stream[i] for i in range(10, 30)]
        for sample in samples:
            task = stream.sources[sample.source].bound
            assert all(task.read(qa, qa.answer) is not None for qa in sample.qas)
        packs = [packing.pack(sample, packaged) for sample in samples]
        lengths[name] = len(batching.collate(packs))
    assert lengths["rooms-brief"] < 0.85 * lengths["rooms"]


def test_what_a_brief_question_is_about_stands_at_its_end():
    for name in ("depth", "correspondence"):
        source = mixture.load("rooms-brief").sources[name]
        qas = source.sample(3, "", np.random.default_rng(0)).qas
        assert all(qa.question.endswith(")") for qa in qas)


class _Unscaled(list):
    metric = False


def test_what_is_not_metric_is_not_asked_for_in_metres():
    items = _Unscaled([(_view(1), _view(2))])
    for task in ("depth", "objects", "pose"):
        with pytest.raises(ValueError, match=f"{task} is asked in metres, and these data have a"):
            Source(items, task)
    Source(items, "pose", options={"metric": False})
    Source(items, "correspondence")


def test_rooms_turns_differ_from_pairs_of_rooms_only_in_the_second_camera_and_in_what_is_asked():
    rooms, turns = mixture.load("rooms").sources, mixture.load("rooms-turns").sources
    assert set(turns) == {"turned_correspondence", "turned_pose"}
    for source in turns.values():
        known = rooms[source.task]
        assert vars(source.items) == vars(known.items) | {"turn_deg": [25, 10, 8]}
        assert replace(source, items=known.items, origin=known.origin, options={}) == known
    assert [source.options for source in turns.values()] == [{"on": "boxes"}, {"metric": False}]
    tests = mixture.load("rooms-turns-test").sources.values()
    assert {s.items.split for s in tests} == {"test"}


def test_a_mixture_like_several_has_the_sources_of_all_with_their_weights():
    parts = [mixture.load(name) for name in ("rooms", "rooms-turns")]
    both = mixture.load("rooms-all")
    assert both.names == parts[0].names + parts[1].names
    assert both.taught == parts[0].taught
    assert (both.shares * 12).tolist() == pytest.approx([3, 2, 3, 2, 1, 1])


def test_a_source_like_another_says_what_differs_and_may_be_repeated(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'same_items = true\nweights = "uniform"\n[sources]\n'
        'pose = { like = "homes:pose" }\nobjects = { like = "homes:objects", questions = 24 }\n'
        'objects_2 = { like = "objects", focal_px = 50 }\n'
    )
    homes, found = mixture.load("homes").sources, mixture.load(path).sources
    assert list(found) == ["pose", "objects", "objects_2"]
    assert found["pose"] == homes["pose"]
    assert found["objects"] == replace(homes["objects"], questions=24)
    assert found["objects_2"] == replace(found["objects"], focal_px=50)


def test_of_a_table_of_a_source_like_another_the_rest_stays(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[sources.pose]\nlike = "homes:pose"\narguments = { split = "test" }\n'
        '[sources.pose.templates.angle]\nanswer = "{value:.1f} degrees"\n'
    )
    (known,) = (s for s in mixture.load("homes-test").sources.values() if s.task == "pose")
    found = mixture.load(path).sources["pose"]
    assert found.items == known.items
    angle = known.templates["angle"] | {"answer": "{value:.1f} degrees"}
    assert found.templates == known.templates | {"angle": angle}


@pytest.mark.parametrize("name", ["late", "last", "looks", "relations"])
def test_the_late_lessons_of_the_packaged_model_ask_as_homes_do_and_more_about_objects(name):
    homes = mixture.load("homes").taught
    found = mixture.load(RECORD / f"{name}.toml")
    tasks = Counter(source.task for source in found.sources.values())
    poses, objects = (2, 4) if name == "looks" else (3, 3)
    assert tasks == {"depth": 1, "correspondence": 1, "objects": objects, "pose": poses}
    if name != "relations":
        assert found.taught == homes


@pytest.mark.parametrize("like", ["homes:attic", "attic"])
def test_a_source_like_one_that_is_not_there_names_those_that_are(tmp_path, like):
    path = tmp_path / "mine.toml"
    path.write_text(f'[sources]\npose = {{ like = "homes:pose" }}\nmore = {{ like = "{like}" }}\n')
    with pytest.raises(ValueError, match=f"source 'more': like '{like}', but there are .*pose"):
        mixture.load(path)


def test_a_mixture_like_one_that_is_not_there_names_it(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('like = "attic"\n')
    with pytest.raises(FileNotFoundError, match="attic"):
        mixture.load(path)


def test_a_mixture_may_name_another_that_lies_beside_it(tmp_path, monkeypatch):
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart" / "first.toml").write_text(
        '[sources.depth]\nfrom = "vlm3.sources.rooms:Rooms"\n'
        'arguments = { collection = "small", views = 1 }\ntask = "depth"\n'
    )
    (tmp_path / "apart" / "second.toml").write_text('like = "first.toml"\n')
    (tmp_path / "apart" / "third.toml").write_text('[sources.a]\nlike = "first.toml:depth"\n')
    monkeypatch.chdir(tmp_path)
    assert list(mixture.load("apart/second.toml").sources) == ["depth"]
    assert list(mixture.load("apart/third.toml").sources) == ["a"]
