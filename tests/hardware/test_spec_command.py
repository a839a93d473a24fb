"""hago spec list | show | check: for people, and for programs."""

import json

import pytest

from hago.cli.app import main
from hago.hardware.host import missing_features
from hago.hardware.load import list_specs, load_spec, spec_digest, spec_folder, spec_to_json


@pytest.fixture
def hago(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["spec", *map(str, arguments)])
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "mine.py"
    text = (spec_folder() / "x86_amx.py").read_text()
    path.write_text(text.replace('"x86-amx"', '"mine"'))
    return path


def test_list_names_every_machine_and_marks_this_computer(hago):
    code, out, _ = hago("list")
    lines = {name: next(line for line in out.splitlines() if name in line) for name in list_specs()}
    here = {name for name in lines if not missing_features(load_spec(name))}
    assert code == 0
    assert {name for name, line in lines.items() if "*" in line} == here


def test_list_for_programs(hago):
    code, out, err = hago("list", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert tuple(found) == list_specs()
    for name, machine in found.items():
        assert machine["runs_here"] is not bool(missing_features(load_spec(name)))
        assert machine["description"]


@pytest.mark.parametrize("name", list_specs())
def test_show_names_every_row_with_its_source(name, hago):
    code, out, _ = hago("show", name)
    assert code == 0
    lines = [line.replace(",", " ").split() for line in out.splitlines()]
    for row in load_spec(name).ops:
        assert any(row.op in line for line in lines)
        assert any(row.intrinsic in line and str(row.origin.line) in line for line in lines)


def test_show_for_programs_is_the_data_form_with_its_digest(hago):
    spec = load_spec("gaudi-fp8")
    code, out, err = hago("show", "gaudi-fp8", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found.pop("digest") == spec_digest(spec)
    assert found == json.loads(json.dumps(spec_to_json(spec)))


def test_a_file_of_ones_own_is_shown_the_same_way(own, hago):
    code, out, _ = hago("show", own, "--json")
    assert code == 0
    mine, theirs = json.loads(out), spec_to_json(load_spec("x86-amx"))
    assert mine["name"] == "mine"
    assert mine["ops"] == json.loads(json.dumps(theirs["ops"]))


def test_check_says_what_a_file_holds(own, hago):
    spec = load_spec(own)
    code, out, err = hago("check", own)
    assert (code, err) == (0, "")
    assert f"'mine' has {len(spec.ops)} rows" in out


def test_check_for_programs(own, hago):
    code, out, _ = hago("check", own, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["name"], found["digest"]) == ("mine", spec_digest(load_spec(own)))
    assert found["rows"] == len(load_spec(own).ops)


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_mistake_is_the_users_and_has_its_line(flags, own, hago):
    own.write_text(own.read_text().replace('by="tdpbusd"', 'by="tdpbus"', 1))
    line = next(i for i, each in enumerate(own.read_text().splitlines(), 1) if '"tdpbus"' in each)
    code, out, err = hago("check", own, *flags)
    assert (code, out) == (2, "")
    assert "SpecError: 'tdpbus'" in err
    assert f"{own}:{line}" in err
    assert "Did you mean 'tdpbusd'?" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("verb", ["show", "check"])
def test_a_machine_that_does_not_exist_is_the_users_mistake(verb, hago):
    code, out, err = hago(verb, "x86-vnny")
    assert (code, out) == (2, "")
    assert "Did you mean 'x86-vnni'?" in err
