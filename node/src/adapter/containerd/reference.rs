//! Names of images: short ones made whole, and where a local copy of one would be.

use oci_client::Reference;

/// Longest reference that is taken, in bytes.
const REFERENCE_LEN_MAX: usize = 512;

/// A whole reference: registry, repository, and tag or digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageName(Reference);

impl ImageName {
    /// Reads a reference as a manifest has it: `nginx:1.14.2` is `docker.io/library/nginx:1.14.2`.
    pub(super) fn parse(text: &str) -> Result<ImageName, String> {
        if text.len() > REFERENCE_LEN_MAX {
            return Err(format!("an image reference must have at most {REFERENCE_LEN_MAX} characters"));
        }
        let parsed = text.parse::<Reference>().map_err(|error| error.to_string())?;
        // A component of only dots would be a path of its own where a reference names a file.
        if parsed.repository().split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            return Err("invalid reference format".into());
        }
        Ok(ImageName(parsed))
    }

    pub(super) fn reference(&self) -> &Reference {
        &self.0
    }

    /// The name under which containerd holds the image.
    pub(super) fn whole(&self) -> String {
        self.0.whole()
    }

    /// The name that always means these very bytes.
    pub(super) fn pinned(&self, digest: &str) -> String {
        self.0.clone_with_digest(digest.to_owned()).whole()
    }

    /// File names, without ending, under which an archive of it may lie: `/` and `:` are written as `_`.
    /// `docker.io/library/` may be left out, and so may the tag `latest`.
    pub(super) fn file_stems(&self) -> Vec<String> {
        // A digest names bytes of a registry; an archive may hold the image in other bytes.
        let (Some(tag), None) = (self.0.tag(), self.0.digest()) else { return Vec::new() };
        let whole = format!("{}/{}", self.0.registry(), self.0.repository());
        let short =
            whole.strip_prefix("docker.io/").map(|rest| rest.strip_prefix("library/").unwrap_or(rest));
        let names = short.into_iter().chain([whole.as_str()]);
        let stems = names.flat_map(|name| {
            let untagged = (tag == "latest").then(|| name.to_owned());
            [Some(format!("{name}:{tag}")), untagged].into_iter().flatten()
        });
        stems.map(|stem| stem.replace(['/', ':'], "_")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_those_of_docker_hub() {
        let whole = |text: &str| ImageName::parse(text).unwrap().whole();
        assert_eq!(whole("nginx:1.14.2"), "docker.io/library/nginx:1.14.2");
        assert_eq!(whole("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(whole("a/b"), "docker.io/a/b:latest");
        assert_eq!(whole("127.0.0.1:5577/r/x:1"), "127.0.0.1:5577/r/x:1");
    }

    #[test]
    fn a_local_copy_may_have_a_short_or_a_whole_name() {
        let stems = |text: &str| ImageName::parse(text).unwrap().file_stems();
        assert_eq!(stems("nginx:1.14.2"), ["nginx_1.14.2", "docker.io_library_nginx_1.14.2"]);
        let latest =
            ["busybox_latest", "busybox", "docker.io_library_busybox_latest", "docker.io_library_busybox"];
        assert_eq!(stems("busybox"), latest);
        assert_eq!(stems("h:1/x:2"), ["h_1_x_2"]);
    }

    #[test]
    fn references_that_are_none_are_refused() {
        for text in ["", "A B", "../x", "a/../b", "-x:", "x@sha256:1", "http://a/b", &"a".repeat(600)] {
            assert!(ImageName::parse(text).is_err(), "{text:.40}");
        }
    }
}
