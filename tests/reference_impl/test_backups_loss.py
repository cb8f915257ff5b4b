"""A book that is lost and made again of its backups, from the command line."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reference_impl import runtime_dir, sealed, setup
from reference_impl.__main__ import main

from ._desk import ADMIN_PASSWORD, opened


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def test_a_lost_book_is_made_again_from_its_backups(tmp_path: Path) -> None:
    path = tmp_path / "book.db"
    with opened(tmp_path) as desk:
        account = desk.funded(50)
    assert run("backup", "create", "--database", path).exit_code == 0
    with opened(tmp_path) as desk:
        more = desk.funded(60)
    made = run("backup", "create", "--database", path, "--type", "incremental").output.strip()
    refused = run("backup", "restore", "--database", path, made)
    assert "is there; move it away" in refused.output
    path.unlink()
    for name in ("book.db-wal", "book.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    listed = run("backup", "list", "--database", path).output.splitlines()
    assert [line.split()[1] for line in listed] == ["full", "incremental"]
    checked = run("backup", "verify", "--database", path, made)
    assert checked.exit_code == 0, checked.output
    done = run("backup", "restore", "--database", path, made)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("epoch 2")
    with opened(tmp_path) as desk:
        for one, amount in ((account, 50), (more, 60)):
            assert desk.get(f"/v1/accounts/{one}").json["balances"]["ledger"] == amount
        assert len(desk.get("/v1/backups").json["data"]) == 2


def test_the_settings_are_kept_from_the_command_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, config = tmp_path / "book.db", tmp_path / "reference.toml"
    setup.create(path, "admin", ADMIN_PASSWORD)
    config.write_text("workers = 7\n")
    monkeypatch.setenv("ALLUSE_THREADS", "9")
    ask = ("backup", "create", "--database", path, "--type", "configuration", "--config", config)
    made = run(*ask).output.strip()
    text = (Path(f"{path}.backups") / made / "settings.toml").read_text()
    assert "workers = 7\nthreads = 9\n" in text
    assert run("backup", "verify", "--database", path, made).exit_code == 0
    with opened(tmp_path) as desk:
        [listed] = desk.get("/v1/backups").json["data"]
        assert (listed["id"], listed["type"]) == (made, "configuration")
    config.write_text("workers = 0\n")
    refused = run(*ask)
    assert (refused.exit_code, "workers: 0 is out of range" in refused.output) == (2, True)
    assert len(list(Path(f"{path}.backups").glob("bak_*"))) == 1


def test_a_restored_book_does_not_take_the_server_of_its_backup_for_a_crashed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, server = tmp_path / "book.db", tmp_path / "server"
    server.mkdir()
    monkeypatch.setenv(runtime_dir.VARIABLE, str(server))
    with opened(tmp_path) as desk:
        jobs = desk.app.extensions["alluse.background"]
        jobs.tend()  # it has the jobs while the backup is made, and stops in good order
        made = run("backup", "create", "--database", path).output.strip()
        jobs.stop()
    for name in ("book.db", "book.db-wal", "book.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    assert run("backup", "restore", "--database", path, made).exit_code == 0
    (server / "started").write_text("9999999999")
    with opened(tmp_path) as desk:
        desk.hands.advance(60)
        lost: list[object] = []
        jobs = desk.app.extensions["alluse.background"]
        jobs.on_taken_over = lambda *what: lost.append(what)
        jobs.tend()
        assert jobs.owns("recoveries")
        assert lost == []


def test_without_the_key_file_nothing_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "book.db"
    setup.create(path, "admin", ADMIN_PASSWORD)
    made = run("backup", "create", "--database", path).output.strip()
    path.unlink()
    sealed.key_path(path).unlink()
    refused = run("backup", "restore", "--database", path, made)
    assert refused.exit_code == 2
    assert "book.db.key" in refused.output
    assert not path.exists()


def test_the_past_of_a_book_that_was_lost_is_verified(tmp_path: Path) -> None:
    """What came after the backup is gone: neither told as forged nor passed over in silence."""
    path, key = tmp_path / "book.db", tmp_path / "key.pem"
    with opened(tmp_path) as desk:
        desk.funded(50)
    made = run("backup", "create", "--database", path).output.strip()
    with opened(tmp_path) as desk:
        before = desk.get("/v1/audit/checkpoint").json
        desk.funded(60)
        later = desk.get("/v1/audit/checkpoint").json
    for name in ("book.db", "book.db-wal", "book.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    assert run("backup", "restore", "--database", path, made).exit_code == 0
    log = tmp_path / "log.jsonl"
    assert run("audit", "export", "--database", path, "--out", log).exit_code == 0
    key.write_text(run("audit", "key", "--database", path).output)
    kept = []
    for checkpoint in (before, later):
        file = tmp_path / f"{checkpoint['size']}.json"
        file.write_text(json.dumps(checkpoint))
        kept.append(file)
    record = json.loads(log.read_bytes().splitlines()[-3])
    assert record["action"] == "restoreBackup"
    lost = record["seq"]

    verify = ("audit", "verify", "--log", log, "--key", key, "--checkpoint")
    found = run(*verify[:-1])
    assert (found.exit_code, f"after record {lost - 1} is not known" in found.output) == (0, True)
    found = run(*verify, kept[1])
    assert found.exit_code == 3
    assert f"record {lost} says that the book was lost" in found.output
    assert f"the records {lost} to {later['size']} of the checkpoint" in found.output
    assert "abandoned" not in found.output
    found = run(*verify, kept[1], "--known-loss", str(lost))
    assert found.exit_code == 0, found.output
    assert "1 kept checkpoints of it were compared with nothing" in found.output
    assert "continues" not in found.output
    strange = run(*verify, kept[1], "--known-loss", str(lost - 1))
    assert (strange.exit_code, "is not the restore of a lost book" in strange.output) == (1, True)
    # What is false stays false, whatever is known to be lost.
    forged = json.loads(kept[1].read_text()) | {"root": "00" * 32}
    kept[1].write_text(json.dumps(forged))
    assert run(*verify, kept[1], "--known-loss", str(lost)).exit_code == 1
