//! The manifests in `examples/`: they are read, run where they say, and tell what to try.

use purser_events::pod::spec::{RuntimeClass, VolumeSource};

use crate::sample::{read_text, yaml_files};

#[test]
fn examples_run_with_the_embedded_defaults() {
    for (path, text) in yaml_files("examples") {
        let spec = read_text(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(spec.runtime, RuntimeClass::Process, "{}", path.display());
        let needs_root = spec.fs_group.is_some()
            || spec
                .all_containers()
                .any(|(_, container)| container.user.uid.is_some() || container.image.is_some())
            || spec.volumes.iter().any(|volume| volume.source != VolumeSource::EmptyDir);
        assert!(!needs_root, "{} needs more than a bare machine has", path.display());
    }
}

#[test]
fn examples_for_containerd_name_their_images() {
    for (path, text) in yaml_files("examples/containerd") {
        let spec = read_text(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(spec.runtime, RuntimeClass::Containerd, "{}", path.display());
        assert!(spec.all_containers().all(|(_, container)| container.image.is_some()), "{}", path.display());
    }
}

#[test]
fn examples_begin_with_what_they_show_and_what_to_try() {
    for folder in ["examples", "examples/containerd", "examples/root"] {
        for (path, text) in yaml_files(folder) {
            assert!(text.starts_with("# "), "{} does not say what it shows", path.display());
            assert!(text.contains("\n# Try:"), "{} does not say what to try", path.display());
        }
    }
}
