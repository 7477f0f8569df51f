//! Tests of checkpoints: known answers of other programs, round trips, and everything near a note that is none.

use super::*;

/// The example of the `signed-note` specification: its verifier key and its note.
const SPEC_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const SPEC_NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
                         Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

/// The example of the format's first implementation: a secret key, its verifier key, and the note it signs.
const PETER_SECRET: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const PETER_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const ENOCH_KEY: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
const PETER_TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const PETER_LINE: &str = "\u{2014} PeterNeumann \
                          x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const ENOCH_LINE: &str = "\u{2014} EnochRoot \
                          rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

const ORIGIN: &str = "gpu-node/5f0c";

fn key(text: &str) -> VerifierKey {
    text.parse().unwrap()
}

fn signer(name: &str, byte: u8) -> NoteSigner {
    NoteSigner::new(name, &Seed::read_from(&mut &[byte; 32][..]).unwrap()).unwrap()
}

fn parse(note: &str) -> Result<SignedNote, NoteError> {
    SignedNote::parse(note.as_bytes())
}

fn checkpoint() -> Checkpoint {
    Checkpoint::new(ORIGIN, 1_024, [9; 32]).unwrap()
}

#[test]
fn the_example_of_the_specification_verifies() {
    let (note, trusted) = (parse(SPEC_NOTE).unwrap(), [key(SPEC_KEY)]);
    assert_eq!(note.verify(&trusted), Ok(vec![&trusted[0]]));
    assert_eq!(note.text(), "This is an example message.\n");
    assert_eq!(note.to_string(), SPEC_NOTE);
    assert_eq!(trusted[0].to_string(), SPEC_KEY);
}

#[test]
fn the_same_key_makes_the_same_note_as_other_programs() {
    let secret = STANDARD.decode(PETER_SECRET).unwrap();
    let signer = NoteSigner::new("PeterNeumann", &Seed::read_from(&mut &secret[1..]).unwrap()).unwrap();
    assert_eq!(signer.verifier().to_string(), PETER_KEY);
    let note = SignedNote::sign(PETER_TEXT, &signer).unwrap();
    assert_eq!(note.to_string(), format!("{PETER_TEXT}\n{PETER_LINE}"));
}

#[test]
fn each_known_key_is_told_once_and_the_others_are_passed_over() {
    let note = parse(&format!("{PETER_TEXT}\n{PETER_LINE}{ENOCH_LINE}{PETER_LINE}")).unwrap();
    let trusted = [key(ENOCH_KEY), key(PETER_KEY)];
    assert_eq!(note.signatures().len(), 3);
    assert_eq!(note.verify(&trusted), Ok(vec![&trusted[1], &trusted[0]]));
    assert_eq!(note.verify(&trusted[..1]), Ok(vec![&trusted[0]]));
    assert_eq!(note.verify(&[key(SPEC_KEY)]), Err(NoteError::Unsigned));
    assert_eq!(note.verify(&[]), Err(NoteError::Unsigned));
}

#[test]
fn a_wrong_signature_by_a_known_key_spoils_the_note() {
    // Enoch's name and id, and a signature of nothing.
    let forged = format!(
        "\u{2014} EnochRoot {}\n",
        STANDARD.encode([&[0xaf, 0x0c, 0xfe, 0x78][..], &[1; 64]].concat())
    );
    let note = parse(&format!("{PETER_TEXT}\n{PETER_LINE}{forged}")).unwrap();
    let wrong = Err(NoteError::WrongSignature { name: "EnochRoot".to_owned() });
    assert_eq!(note.verify(&[key(PETER_KEY), key(ENOCH_KEY)]), wrong);
    assert!(note.verify(&[key(PETER_KEY)]).is_ok(), "unknown keys say nothing");
}

#[test]
fn the_same_name_with_another_id_is_another_key() {
    let note = SignedNote::sign("text\n", &signer("somebody", 1)).unwrap();
    assert_eq!(note.verify(&[signer("somebody", 2).verifier().clone()]), Err(NoteError::Unsigned));
    assert_eq!(note.verify(&[signer("else", 1).verifier().clone()]), Err(NoteError::Unsigned));
}

#[test]
fn every_changed_byte_of_a_note_is_noticed() {
    let note = checkpoint().sign(&signer(ORIGIN, 1)).unwrap().to_string().into_bytes();
    let trusted = [signer(ORIGIN, 1).verifier().clone()];
    for at in 0..note.len() {
        for bit in 0..8 {
            let mut changed = note.clone();
            changed[at] ^= 1 << bit;
            let verified = SignedNote::parse(&changed).and_then(|note| note.verify(&trusted).map(drop));
            assert!(verified.is_err(), "bit {bit} of byte {at}");
        }
    }
    for len in 0..note.len() {
        assert!(SignedNote::parse(&note[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn what_is_not_a_note_is_refused() {
    let line = PETER_LINE;
    for (note, error) in [
        (String::new(), NoteError::Incomplete),
        ("text\n".to_owned(), NoteError::Incomplete),
        ("text\n\n".to_owned(), NoteError::Incomplete),
        (format!("text\n{line}"), NoteError::Incomplete),
        (format!("text\n\n{}", line.trim_end()), NoteError::Incomplete),
        (format!("te\rxt\n\n{line}"), NoteError::NotText),
        (format!("te\0xt\n\n{line}"), NoteError::NotText),
        (format!("text\n\n{line}text\n"), NoteError::Line { line: 2 }),
        (format!("text\n\n{}", line.replace('\u{2014}', "-")), NoteError::Line { line: 1 }),
        (format!("text\n\n{}", line.replace("PeterNeumann", "Peter Neumann")), NoteError::Line { line: 1 }),
        (format!("text\n\n{}", line.replace("PeterNeumann", "Peter+Neumann")), NoteError::Line { line: 1 }),
        (format!("text\n\n{}", line.replace("PeterNeumann", "")), NoteError::Line { line: 1 }),
        (format!("text\n\n{}", line.replace("nAM=", "nAN=")), NoteError::Line { line: 1 }),
        (format!("text\n\n{}", line.replace("nAM=", "nAM")), NoteError::Line { line: 1 }),
        // An id and no signature.
        ("text\n\n\u{2014} somebody x08gow==\n".to_owned(), NoteError::Line { line: 1 }),
    ] {
        assert_eq!(parse(&note), Err(error), "{note:?}");
    }
    assert_eq!(SignedNote::parse(b"te\xffxt\n\n"), Err(NoteError::NotText));
}

#[test]
fn notes_have_bounds() {
    let line = PETER_LINE;
    assert!(parse(&format!("text\n\n{}", line.repeat(SIGNATURES_MAX))).is_ok());
    let more = parse(&format!("text\n\n{}", line.repeat(SIGNATURES_MAX + 1)));
    assert_eq!(more, Err(NoteError::TooManySignatures));
    let frame_len = "\n\n".len() + line.len();
    let longest = format!("{}\n\n{line}", "x".repeat(NOTE_LEN_MAX - frame_len));
    assert!(parse(&longest).is_ok());
    assert_eq!(parse(&format!("x{longest}")), Err(NoteError::TooLong { len: NOTE_LEN_MAX + 1 }));
    let text = format!("{}\n", "x".repeat(NOTE_LEN_MAX));
    assert!(matches!(SignedNote::sign(&text, &signer("a", 1)), Err(NoteError::TooLong { .. })));
}

#[test]
fn a_text_may_hold_empty_lines_and_what_looks_like_signatures() {
    let text = format!("text\n\n{PETER_LINE}\n\n");
    let note = SignedNote::sign(&text, &signer("a", 1)).unwrap();
    let read = parse(&note.to_string()).unwrap();
    assert_eq!((read.text(), read.signatures().len()), (text.as_str(), 1));
    assert!(read.verify(&[signer("a", 1).verifier().clone()]).is_ok());
    for text in ["", "no newline", "tab\tin\n"] {
        assert!(SignedNote::sign(text, &signer("a", 1)).is_err(), "{text:?}");
    }
}

#[test]
fn a_witness_adds_its_signature_to_the_same_text_alone() {
    let mut note = checkpoint().sign(&signer(ORIGIN, 1)).unwrap();
    let mut witnessed = note.clone();
    witnessed.add_signature(&signer("witness", 2)).unwrap();
    note.merge(&witnessed).unwrap();
    note.merge(&witnessed).unwrap();
    note.add_signature(&signer("witness", 2)).unwrap();
    let trusted = [signer("witness", 2).verifier().clone(), signer(ORIGIN, 1).verifier().clone()];
    assert_eq!(note.signatures().len(), 2);
    assert_eq!(note.verify(&trusted).unwrap().len(), 2);

    let other = Checkpoint::new(ORIGIN, 1_025, [9; 32]).unwrap().sign(&signer(ORIGIN, 1)).unwrap();
    assert_eq!(note.merge(&other), Err(NoteError::OtherText));
    let mut many = SignedNote::sign("text\n", &signer("a", 0)).unwrap();
    for byte in 1..64 {
        many.add_signature(&signer("a", byte)).unwrap();
    }
    assert_eq!(many.add_signature(&signer("a", 64)), Err(NoteError::TooManySignatures));
    assert_eq!(many.signatures().len(), SIGNATURES_MAX);
}

#[test]
fn a_checkpoint_needs_the_signature_of_its_own_origin() {
    let mut note = checkpoint().sign(&signer(ORIGIN, 1)).unwrap();
    note.add_signature(&signer("witness", 2)).unwrap();
    let (own, witness) = (signer(ORIGIN, 1).verifier().clone(), signer("witness", 2).verifier().clone());
    assert_eq!(Checkpoint::verify(&note, &[own.clone(), witness.clone()]), Ok(checkpoint()));
    let not_its_own = Err(CheckpointError::NotItsOwn { origin: ORIGIN.to_owned() });
    assert_eq!(Checkpoint::verify(&note, &[witness]), not_its_own);
    assert_eq!(checkpoint().sign(&signer("else", 1)).map(drop), not_its_own.map(drop));
    let note = SignedNote::sign("gpu-node/5f0c\n12\n", &signer(ORIGIN, 1)).unwrap();
    assert_eq!(Checkpoint::verify(&note, &[own]), Err(CheckpointError::CutShort));
}

#[test]
fn the_example_checkpoint_of_the_specification_is_read() {
    let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let checkpoint = Checkpoint::parse(text).unwrap();
    assert_eq!((checkpoint.origin(), checkpoint.size()), ("example.com/behind-the-sofa", 20_852_163));
    assert_eq!(checkpoint.root()[..4], [0x0a, 0xc5, 0x18, 0x6a]);
    assert_eq!(checkpoint.to_string(), text);
    let extended = checkpoint.with_extension("more to say").unwrap();
    assert_eq!(extended.to_string(), format!("{text}more to say\n"));
    assert_eq!(Checkpoint::parse(&extended.to_string()).unwrap().extensions(), ["more to say"]);
}

#[test]
fn what_is_not_exactly_a_checkpoint_is_refused() {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    for (text, error) in [
        (String::new(), CheckpointError::CutShort),
        ("a\n5\n".to_owned(), CheckpointError::CutShort),
        (format!("a\n5\n{root}"), CheckpointError::CutShort),
        (format!("\n5\n{root}\n"), CheckpointError::Line { line: 1 }),
        (format!("{}\n5\n{root}\n", "a".repeat(256)), CheckpointError::Line { line: 1 }),
        (format!("a\n05\n{root}\n"), CheckpointError::Size),
        (format!("a\n+5\n{root}\n"), CheckpointError::Size),
        (format!("a\n-5\n{root}\n"), CheckpointError::Size),
        (format!("a\n 5\n{root}\n"), CheckpointError::Size),
        (format!("a\n\n{root}\n"), CheckpointError::Size),
        (format!("a\n{}\n{root}\n", merkle::LEN_MAX + 1), CheckpointError::Size),
        (format!("a\n99999999999999999999\n{root}\n"), CheckpointError::Size),
        ("a\n5\nAAAA\n".to_owned(), CheckpointError::Root),
        (format!("a\n5\n{}\n", root.replace("q2I=", "q2J=")), CheckpointError::Root),
        (format!("a\n5\n{}\n", root.trim_end_matches('=')), CheckpointError::Root),
        (format!("a\n5\n{root}\r\n"), CheckpointError::Root),
        (format!("a\n5\n{root}\n\n"), CheckpointError::Line { line: 4 }),
        (format!("a\n5\n{root}\nb\n\nc\n"), CheckpointError::Line { line: 5 }),
        (format!("a\n5\n{root}\n{}\n", "b".repeat(LINE_LEN_MAX + 1)), CheckpointError::Line { line: 4 }),
        (format!("a\n5\n{root}\n{}", "b\n".repeat(EXTENSIONS_MAX + 1)), CheckpointError::TooManyLines),
    ] {
        assert_eq!(Checkpoint::parse(&text), Err(error), "{text:?}");
    }
    let smuggled = Checkpoint::new("a\n7", 5, [0; 32]);
    assert_eq!(smuggled, Err(CheckpointError::Line { line: 1 }));
    assert!(Checkpoint::parse(&format!("a\n0\n{root}\n")).is_ok());
}

#[test]
fn what_is_not_a_verifier_key_is_refused() {
    for (text, error) in [
        ("", KeyError::Malformed),
        ("PeterNeumann+c74f20a3", KeyError::Malformed),
        ("PeterNeumann+c74f20a3+", KeyError::Malformed),
        ("PeterNeumann+c74f20a3+ARpc", KeyError::Malformed),
        ("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TX==", KeyError::Malformed),
        ("PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Id),
        ("PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Id),
        ("PeterNeuman+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Id),
        ("PeterNeumann+c74f20a3+BBpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Kind { number: 4 }),
        ("Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Name),
        ("+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Name),
    ] {
        assert_eq!(text.parse::<VerifierKey>(), Err(error), "{text}");
    }
    // Under the neutral element every message has a signature.
    let mut weak = [0; 32];
    weak[0] = 1;
    assert_eq!(VerifierKey::new("weak", &weak), Err(KeyError::PublicKey));
    assert_eq!(VerifierKey::new("no point", &[2; 32]), Err(KeyError::Name));
    assert_eq!(VerifierKey::new("no-point", &[2; 32]), Err(KeyError::PublicKey));
    assert_eq!(VerifierKey::new(&"a".repeat(KEY_NAME_LEN_MAX + 1), &[9; 32]), Err(KeyError::Name));
}

#[test]
fn secrets_are_not_printed() {
    let seed = Seed::read_from(&mut &[0xab; 32][..]).unwrap();
    let signer = NoteSigner::new(ORIGIN, &seed).unwrap();
    assert_eq!(format!("{seed:?}"), "Seed(..)");
    assert_eq!(
        format!("{signer:?}"),
        format!("NoteSigner {{ verifier: VerifierKey({}), .. }}", signer.verifier())
    );
    assert!(Seed::read_from(&mut &[0; 31][..]).is_err(), "a seed that is cut short is none");
}
