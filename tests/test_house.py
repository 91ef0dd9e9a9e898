"""The rooms of the library: who imports whom, what `import lehr` loads, and which names there are."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lehr

PACKAGE = Path(lehr.__file__).parent

# Each room imports only from rooms to its left, and those between bars not from each other.
ROOMS = (
    "words <- curves <- shapes <- evaluate <- ramp <- verbs | areas <- schedule <- recipes <- cycles <- functional"
    " <- clock <- items <- spec <- lint | compare | fit | conventions <- plot <- sharding"
    " <- integrations | nn | depth <- optimizer <- muon <- train <- cli <- __main__"
)
PLACE = {room: place for place, rooms in enumerate(ROOMS.split(" <- ")) for room in rooms.split(" | ")}


def room_of(module: str) -> str:
    """`lehr.train.data` and `lehr.train` are the room `train`; `lehr` itself is none."""
    return [*module.split("."), ""][1]


FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
IN_ROOMS = [module for module in FILES if module != "lehr"]  # the package's own file is the door: it names every room


def imports(path: Path) -> set[str]:
    """Every module that a file imports, inside functions too. (What a type checker alone sees counts as well.)"""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names = {alias.name for alias in node.names}
            found |= {f"lehr.{name}" for name in names} if node.module == "lehr" else {str(node.module)}
    return found


@pytest.mark.parametrize("module", IN_ROOMS)
def test_a_room_has_its_place_and_imports_only_from_its_left(module):
    room = room_of(module)
    assert room in PLACE, f"{module} has no place among {ROOMS}"
    for name in imports(FILES[module]):
        other = room_of(name) if name.split(".")[0] == "lehr" else ""
        if other in PLACE and other != room:
            assert PLACE[other] < PLACE[room], f"{module} imports {name}, which is not to its left"


@pytest.mark.parametrize("module", [m for m in IN_ROOMS if PLACE.get(room_of(m), 99) < PLACE["plot"]])
def test_left_of_plot_there_is_the_standard_library_alone(module):
    for name in imports(FILES[module]):
        top = name.split(".")[0]
        assert top == "lehr" or top in sys.stdlib_module_names, f"{module} imports {name}"


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after running the code."""
    program = f"{code}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"numpy", "torch", "jax", "jaxlib", "rich", "matplotlib", "plotille", "transformers", "optax", "safetensors"}


def test_import_lehr_loads_none_of_the_heavy_libraries():
    loaded = loaded_by("import lehr")
    assert "lehr" in loaded and not loaded & HEAVY


def test_the_whole_core_at_work_loads_none_of_the_heavy_libraries():
    at_work = "import lehr; [getattr(lehr, name) for name in lehr.__all__]; s = lehr.parse('linear 5 to 1, hold rest'"
    at_work += ", total=10); s(3); str(3e-4 * s); s.fingerprint; lehr.from_dict(lehr.to_dict(s))"
    assert not loaded_by(at_work) & HEAVY


def test_all_is_sorted_and_each_name_is_there():
    assert lehr.__all__ == sorted(lehr.__all__)
    assert all(hasattr(lehr, name) for name in lehr.__all__) and set(lehr.__all__) <= set(dir(lehr))
    with pytest.raises(AttributeError, match="module 'lehr' has no attribute 'cosin'"):
        lehr.cosin  # noqa: B018 - the look-up is the test


def test_the_public_names_are_those_that_scripts_call():
    # a contract: a name may be added here, never taken away
    promised = {"Clock", "Ramp", "Schedule", "constant", "cosine", "diff", "from_dict", "functional", "identify"}
    assert promised | {"inverse_sqrt", "linear", "parse", "register", "to_dict", "wsd"} <= set(lehr.__all__)


def test_no_module_shares_its_name_with_a_public_function():
    # importing lehr.x binds x on the package, so it would take the function's place
    functions = {name for name in lehr.__all__ if not isinstance(getattr(lehr, name), type(ast))}
    assert not functions & {room_of(module) for module in FILES}


def test_every_public_object_says_what_it_does():
    assert all(getattr(lehr, name).__doc__ for name in lehr.__all__)
