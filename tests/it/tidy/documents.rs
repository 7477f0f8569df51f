//! The rules over what people read: documents name only what exists.

use std::collections::BTreeSet;

use super::rules::Finding;
use super::source::{SourceFile, is_word, strings_of};

/// Where only the machine of whoever wrote something has files.
const PRIVATE_FOLDER: &str = "/root/";

/// Texts that name a folder of somebody's own machine.
pub(crate) fn private_folders(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let lines = file.text.lines().enumerate().filter(|(_, line)| {
            // The examples have a folder of that name.
            line.replace("examples/root/", "").contains(PRIVATE_FOLDER)
        });
        findings.extend(
            lines.map(|(number, _)| format!("{}:{}: names `{PRIVATE_FOLDER}`", file.path, number + 1)),
        );
    }
    findings
}

/// Every name of a metric in the strings of these files.
pub(crate) fn metric_names(files: &[SourceFile], packages: &[String]) -> BTreeSet<String> {
    let strings = files.iter().flat_map(|file| strings_of(&file.text));
    let is_name = |text: &String| {
        text.strip_prefix("purser_").is_some_and(|rest| {
            !rest.is_empty() && rest.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
    };
    strings.map(|(_, text)| text).filter(is_name).filter(|name| !packages.contains(name)).collect()
}

/// Metrics that the document does not describe in backticks, and those it describes that nobody counts.
pub(crate) fn undescribed(names: &BTreeSet<String>, document: &str) -> Vec<Finding> {
    let in_backticks = document.split('`').skip(1).step_by(2);
    let described: BTreeSet<&str> = in_backticks
        .map(|text| text.split(|c| !is_word(c)).next().expect("a split has a first part"))
        .filter(|text| text.starts_with("purser_"))
        .collect();
    let silent = names.iter().filter(|name| !described.contains(name.as_str()));
    let idle = described.iter().filter(|name| !names.contains(**name));
    silent
        .map(|name| format!("docs/metrics.md: does not describe `{name}`"))
        .chain(idle.map(|name| format!("docs/metrics.md: describes `{name}`, which nobody counts")))
        .collect()
}

/// Commands in a document: every line of a fenced block, and every stretch of text between backticks.
fn commands(document: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            found.push(line.trim().trim_start_matches("$ "));
        } else {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// The words that follow `program` in a document's commands, options left out.
pub(crate) fn words_after(document: &str, program: &str) -> BTreeSet<String> {
    let after = |command: &&str| command.strip_prefix(program)?.strip_prefix(' ').map(str::to_owned);
    let is_word =
        |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
    commands(document)
        .iter()
        .filter_map(after)
        .filter_map(|rest| rest.split_whitespace().next().filter(is_word).map(str::to_owned))
        .collect()
}

/// The verbs in a program's own `--help`.
pub(crate) fn verbs(help: &str) -> BTreeSet<String> {
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A longer description goes on further to the right.
    let named = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    named.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

/// The targets that a Makefile has.
pub(crate) fn make_targets(makefile: &str) -> BTreeSet<String> {
    let target = |line: &str| {
        let name = line.split(':').next().filter(|name| *name != line)?;
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        plain.then(|| name.to_owned())
    };
    makefile.lines().filter_map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_folder_is_found() {
        let file = SourceFile::new("README.md", "Run it.\nSee /root/notes.\n");
        assert_eq!(private_folders(&[file]), ["README.md:2: names `/root/`"]);
    }

    #[test]
    fn a_metric_must_be_described_and_a_described_one_counted() {
        let file = SourceFile::new("a.rs", "count(\"purser_pods\"); log(\"purser_node\"); // \"purser_no\"");
        let names = metric_names(&[file], &["purser_node".to_owned()]);
        assert_eq!(names, BTreeSet::from(["purser_pods".to_owned()]));
        assert_eq!(undescribed(&names, "`purser_pods{phase}`: pods; alert on `purser_pods > 9`."), [""; 0]);
        assert_eq!(undescribed(&names, "Nothing, and `purser_gone`.").len(), 2);
    }

    #[test]
    fn commands_are_found_in_blocks_and_in_backticks() {
        let document =
            "Try `purser get pods`.\n```sh\npurser apply -f examples/\n$ make run\n```\npurser runs.";
        let verbs = words_after(document, "purser");
        assert_eq!(verbs, BTreeSet::from(["apply".to_owned(), "get".to_owned()]));
        assert_eq!(words_after(document, "make"), BTreeSet::from(["run".to_owned()]));
        assert_eq!(words_after("`purser --version`, `purserd check`", "purser"), BTreeSet::new());
    }

    #[test]
    fn verbs_are_read_from_the_help() {
        let help = "Usage: purser\n\nCommands:\n  apply  Applies\n         pods\n  get    Shows\n\nOptions:\n  -h  Help\n";
        assert_eq!(verbs(help), BTreeSet::from(["apply".to_owned(), "get".to_owned()]));
    }

    #[test]
    fn targets_of_a_makefile_are_found() {
        let makefile = "X ?= 1\n.PHONY: a\nrun: build ## Runs.\n\t@echo a: b\nclean-run:\n";
        assert_eq!(make_targets(makefile), BTreeSet::from(["clean-run".to_owned(), "run".to_owned()]));
    }
}
