"""Records of the scripts in eval can be made again, by a command that names no folder above the repository."""

import json

from eval import records


def test_a_command_names_files_above_the_repository_by_their_name_alone():
    told = records.command(
        "prefixes", ["one_d_piece_nano.photos64", "--photos", "../data/photos64.zip", "--limit", "9"]
    )
    assert told == "python -m eval.prefixes one_d_piece_nano.photos64 --photos photos64.zip --limit 9"


def test_options_of_held_out_photos_lead_to_a_record_in_a_folder_that_is_made(tmp_path):
    given = records.held_out_parser("about", "some.json").parse_args(["--photos", "photos.zip"])
    assert (given.out, given.limit) == (records.RESULTS / "some.json", None)
    records.write_record(tmp_path / "new" / "some.json", {"claims": {"it holds": True}})
    assert json.loads((tmp_path / "new" / "some.json").read_text()) == {"claims": {"it holds": True}}
