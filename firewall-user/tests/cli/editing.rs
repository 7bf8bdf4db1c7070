//! `weir policy edit`.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use crate::lab::{Lab, POLICY, eventually, in_lab};

const START: [&str; 2] = ["--interface", "outside=box0"];

/// An editor that does what a shell script says; `$1` is the file.
fn editor(lab: &Lab, script: &str) -> String {
    let path = lab.directory.join("editor");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
    path.to_str().expect("UTF-8").to_owned()
}

/// What the policy's directory holds, hidden files too.
fn files(lab: &Lab) -> Vec<String> {
    crate::lab::names(&lab.policies())
}

#[test]
fn what_is_right_takes_the_files_place_and_is_applied() {
    in_lab(|lab| {
        lab.start(&START);
        let path = lab.policies().join("10-base.toml");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("permissions");
        // The copy has the file's ending, and an editor's options are kept apart.
        let script = editor(lab, "[ \"$1\" = -x ] && shift; case \"$1\" in *.toml) sed -i s,udp/7000,udp/7999, \"$1\";; esac");
        let run = lab.weir_with(&["policy", "edit", "--confirm", "60"], &[("VISUAL", &format!("{script} -x")), ("EDITOR", "false")], "");
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.out.contains("1 rule changed") && run.out.contains("else number 1 comes back"), "{run:?}");
        assert_eq!(lab.read("10-base.toml").expect("the file"), POLICY.replace("udp/7000", "udp/7999"), "comments are kept");
        assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o640);
        assert_eq!(files(lab), ["10-base.toml"]);
        assert!(lab.datagram_arrives(7999));
        lab.weir_with(&["policy", "edit"], &[("EDITOR", "true")], "").refused_with(1, &["number 2 waits to be confirmed"]);
        lab.json(&["policy", "confirm"]);
        let run = lab.weir_with(&["policy", "edit"], &[("EDITOR", "true"), ("VISUAL", "")], "");
        assert!(run.code == Some(0) && run.out.contains("is unchanged"), "{run:?}");
    });
}

#[test]
fn what_is_wrong_is_edited_again_or_discarded() {
    in_lab(|lab| {
        lab.start(&START);
        let broken = editor(lab, "echo 'acton = 1' >> \"$1\"");
        for input in ["x\n", "what?\nx\n", ""] {
            let run = lab.weir_with(&["policy", "edit"], &[("VISUAL", &broken)], input);
            run.refused_with(2, &["10-base.toml:13:1: unknown key \"acton\" in a rule", "(e)dit again", "10-base.toml is as it was"]);
            assert_eq!((lab.read("10-base.toml").expect("the file").as_str(), files(lab).len()), (POLICY, 1));
        }
        let again =
            editor(lab, "if grep -q acton \"$1\"; then sed -i s,acton.*,, \"$1\"; echo >> \"$1\"; else echo 'acton = 1' >> \"$1\"; fi");
        let run = lab.weir_with(&["policy", "edit"], &[("VISUAL", &again)], "e\n");
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(lab.read("10-base.toml").expect("the file"), format!("{POLICY}\n\n"));
        let failing = lab.weir_with(&["policy", "edit"], &[("VISUAL", "sh -c 'echo x >> \"$0\"; exit 3'")], "");
        failing.refused_with(1, &["failed (exit status: 3)", "is as it was"]);
        lab.weir_with(&["policy", "edit", "/etc/passwd"], &[("VISUAL", "true")], "").refused_with(2, &["is no file of the policy"]);
        lab.write("20-more.toml", "");
        lab.weir_with(&["policy", "edit"], &[("VISUAL", "true")], "").refused_with(2, &["which file?", "10-base.toml, 20-more.toml"]);
        assert_eq!(files(lab).len(), 2);
    });
}

#[test]
fn a_second_editor_is_refused() {
    in_lab(|lab| {
        lab.start(&START);
        let (begun, go): (PathBuf, PathBuf) = (lab.directory.join("begun"), lab.directory.join("go"));
        let script = format!("touch {}; while ! [ -e {} ]; do sleep 0.05; done", begun.display(), go.display());
        let slow = editor(lab, &script);
        let first = lab.begin_with(&["policy", "edit"], &[("VISUAL", &slow)]);
        eventually("the first editor", || begun.exists().then_some(()));
        lab.weir_with(&["policy", "edit"], &[("VISUAL", "true")], "").refused_with(1, &["somebody edits the policy"]);
        lab.weir(&["bypass", "add", "x", "--from", "any", "--to", "self", "--service", "tcp/1"])
            .refused_with(1, &["somebody edits the policy"]);
        fs::write(&go, "").expect("written");
        assert_eq!(first.ended().code, Some(0));
        assert_eq!(lab.weir_with(&["policy", "edit"], &[("VISUAL", "true")], "").code, Some(0));
    });
}

#[test]
fn an_edit_that_cuts_ones_session_leaves_the_file_alone() {
    in_lab(|lab| {
        lab.start(&START);
        let (client, _server) = lab.connect();
        let ssh = format!("10.9.0.2 {} 10.9.0.1 7000", client.local_addr().expect("an address").port());
        let cutting = editor(lab, "sed -i s,tcp/7000,tcp/7001, \"$1\"");
        let environment = [("VISUAL", cutting.as_str()), ("SSH_CONNECTION", ssh.as_str())];
        lab.weir_with(&["policy", "edit"], &environment, "").refused_with(1, &["this cuts your own SSH session", "--cut-session"]);
        assert_eq!((lab.read("10-base.toml").expect("the file").as_str(), files(lab).len()), (POLICY, 1));
        assert_eq!(lab.weir_with(&["policy", "edit", "--cut-session"], &environment, "").code, Some(0));
        assert!(lab.read("10-base.toml").expect("the file").contains("tcp/7001"));
    });
}
