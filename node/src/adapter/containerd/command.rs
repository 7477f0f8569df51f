//! What a container runs: Kubernetes' table of command and args against the image's entrypoint and cmd.

use super::document::ImageProcess;

/// The search path of images that set none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Program and arguments; none if neither the manifest nor the image says what to run.
///
/// A `command` replaces the image's entrypoint and its cmd too; `args` alone replace the cmd only.
pub(super) fn argv(image: &ImageProcess, command: &[String], args: &[String]) -> Option<Vec<String>> {
    let entrypoint = image.entrypoint.as_deref().unwrap_or_default();
    let cmd = image.cmd.as_deref().unwrap_or_default();
    let argv = match (command, args) {
        ([], []) => [entrypoint, cmd].concat(),
        ([], args) => [entrypoint, args].concat(),
        (command, args) => [command, args].concat(),
    };
    (!argv.is_empty()).then_some(argv)
}

/// The environment: the image's, then what every container gets, then the manifest's; the last one given counts.
pub(super) fn environment(image: &ImageProcess, hostname: &str, given: &[(String, String)]) -> Vec<String> {
    let image = image.env.as_deref().unwrap_or_default();
    let always = [DEFAULT_PATH.to_owned()];
    let own = [format!("HOSTNAME={hostname}")];
    let given = given.iter().map(|(name, value)| format!("{name}={value}"));
    let mut merged: Vec<String> = Vec::new();
    for variable in always.into_iter().chain(image.iter().cloned()).chain(own).chain(given) {
        let name = variable.split('=').next().unwrap_or_default();
        match merged.iter_mut().find(|held| held.split('=').next() == Some(name)) {
            Some(held) => *held = variable,
            None => merged.push(variable),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn command_and_args_follow_kubernetes() {
        for (entrypoint, cmd, command, args, wanted) in [
            ("/ep", "foo bar", "", "", "/ep foo bar"),
            ("/ep", "foo bar", "/cmd", "", "/cmd"),
            ("/ep", "foo bar", "", "zoo", "/ep zoo"),
            ("/ep", "foo bar", "/cmd", "zoo boo", "/cmd zoo boo"),
            ("", "sh", "", "", "sh"),
            ("", "sh", "", "ls", "ls"),
        ] {
            let image = ImageProcess {
                entrypoint: Some(words(entrypoint)),
                cmd: Some(words(cmd)),
                ..ImageProcess::default()
            };
            let found = argv(&image, &words(command), &words(args));
            assert_eq!(found, Some(words(wanted)), "{entrypoint:?} {cmd:?} {command:?} {args:?}");
        }
        assert_eq!(argv(&ImageProcess::default(), &[], &[]), None);
    }

    #[test]
    fn the_manifests_environment_wins() {
        let image = ImageProcess {
            env: Some(vec!["PATH=/opt/bin".into(), "A=image".into(), "B=image".into(), "HOSTNAME=x".into()]),
            ..ImageProcess::default()
        };
        let given =
            [("A".to_owned(), "pod=1".to_owned()), ("C".into(), "1".into()), ("C".into(), "2".into())];
        let merged = environment(&image, "web", &given);
        assert_eq!(merged, ["PATH=/opt/bin", "A=pod=1", "B=image", "HOSTNAME=web", "C=2"]);
        assert_eq!(environment(&ImageProcess::default(), "web", &[]), [DEFAULT_PATH, "HOSTNAME=web"]);
    }
}
