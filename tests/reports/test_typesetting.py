"""Typesetting: a template reads only its folder, and a failing child process is an error with a reason."""

from pathlib import Path

import pytest
import typst

from campshub.core.typesetting import child, fonts, process


def hostile(tmp_path, monkeypatch, template):
    root = tmp_path / "templates"
    root.mkdir()
    (root / "hostile.typ").write_text(template)
    (tmp_path / "secret.txt").write_text("a secret")
    for name, value in process._environment().items():
        monkeypatch.setenv(name, value)
    document = {"locale": "en"}
    compiler, _ = child._compiler({"template": "hostile", "templates": str(root), "fonts": "", "document": document})
    return compiler


@pytest.mark.parametrize(
    ("template", "refusal"),
    [
        ('#read("../secret.txt")', "escape the project root"),
        ('#read("/../secret.txt")', "escape the project root"),
        ('#read("/etc/passwd")', "file not found"),
        ("#image(bytes(\"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>\"))", "linked"),
        ('#import "@preview/cetz:0.4.2"', "package"),
        ('#import "@local/cetz:0.4.2"', "package"),
    ],
)
def test_a_template_reads_nothing_outside_its_folder(tmp_path, monkeypatch, template, refusal):
    with pytest.raises(typst.TypstError, match=refusal):
        hostile(tmp_path, monkeypatch, template).compile(format="pdf")


def test_the_child_process_gets_none_of_our_settings(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "secret")
    monkeypatch.setenv("DATABASE_URL", "postgresql://")

    assert process._environment().keys() <= {
        *("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONUTF8"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
    }


def test_a_machine_without_fonts_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(fonts, "FOLDERS", ())
    request = {"command": "render", "template": "list", "fonts": str(tmp_path), "document": {"locale": "en"}}
    assert child.render(request) == {"problem": "no_fonts"}

    replace_child(monkeypatch, """echo '{"problem": "no_fonts"}'""")
    with pytest.raises(process.NoFonts, match="fonts-noto-core"):
        process.run({})


def replace_child(monkeypatch, command):
    monkeypatch.setattr(process, "_COMMAND", ["/bin/sh", "-c", command])


def test_fonts_of_the_configured_folder_come_first(tmp_path):
    regular = next(path for folder in fonts.FOLDERS for path in Path(folder).rglob("NotoSans-Regular.ttf"))
    (tmp_path / regular.name).write_bytes(regular.read_bytes())

    found = fonts.Fonts(f"{tmp_path}:/nonexistent", "en")

    assert found._faces["Noto Sans"] == (str(tmp_path / regular.name), 0)


@pytest.mark.parametrize(
    ("locale", "family"), [("en", "JP"), ("ko", "KR"), ("zh-CN", "SC"), ("zh_TW", "TC"), ("zh-HK", "HK")]
)
def test_han_letters_follow_the_locale(locale, family):
    found = fonts.Fonts("", locale)
    found.printable("王小明")

    assert found.used() == [f"Noto Sans CJK {family}"]


@pytest.mark.parametrize(
    ("command", "reason"), [("kill -9 $$", "-9"), ("exit 3", "3"), ("exec sleep 30", "no document")]
)
def test_a_child_that_ends_without_a_document_is_an_error(monkeypatch, command, reason):
    replace_child(monkeypatch, command)
    monkeypatch.setattr(process, "LIMIT_S", 1)

    with pytest.raises(process.TypesettingFailed, match=reason):
        process.run({})
