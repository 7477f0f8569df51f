//! Where the agents in pools' pods come in: the folders they find, the tokens they show, the routes they ask, and what
//! becomes of what their tasks print.
//!
//! An agent runs a tenant's tasks beside it: nothing it says is believed, and whatever it sends is bounded.

mod folder;
pub mod key;
mod orders;
pub mod output;
mod reference;
pub mod routes;
pub mod serve;
mod zone;

pub(crate) use zone::shown as local_time;

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use axum::http::StatusCode;
use purser_actors::Service;
use purser_actors::port::{MemberId, PoolHost};
use purser_events::pool::{LocalTime, PoolName, Reference, ReferenceKind, SecretVar};
use purser_events::{NodeUid, Principal, Timestamp};

use crate::adapter::volumes::private_folder;
use crate::api::problem::Problem;
use folder::Folders;
use key::Key;

/// Most bytes of the secrets of one task.
const SECRETS_LEN_MAX: usize = 64 * 1024;

/// What keeps the digests of one key apart: a token is no digest of a secret.
const TOKEN_OF: &[u8] = b"agent-token";
const DIGEST_OF: &[u8] = b"reference";

/// The agents' place on this host. Cheap to clone.
#[derive(Clone)]
pub struct Agents {
    folders: Folders,
    key: Key,
    references: Option<PathBuf>,
}

impl Agents {
    /// A place below `root`, with what pools refer to below `references`. Blocks on the disk.
    ///
    /// # Errors
    /// The folder or the key cannot be made or read.
    pub fn open(
        root: &Path,
        references: Option<PathBuf>,
        random: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<Agents> {
        private_folder(root)?;
        let key = Key::load_or_make(&root.join("key"), random)?;
        Ok(Agents { folders: Folders::new(root.to_path_buf()), key, references })
    }

    /// The socket where agents are heard.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folders.socket()
    }

    /// Gives every member's folder the socket as it is now. Blocks on the disk.
    ///
    /// # Errors
    /// The folders cannot be read.
    pub fn link_all(&self) -> io::Result<()> {
        self.folders.link_all()
    }

    /// The member whose token this is, if it is anybody's.
    #[must_use]
    pub fn member_of(&self, node: NodeUid, token: &str) -> Option<MemberId> {
        let (name, proof) = token.split_once('.')?;
        member_called(name).filter(|_| self.key.is_token(&parts(node, name), proof))
    }

    /// The values of variables that are secrets.
    ///
    /// # Errors
    /// Says which cannot be read, and why; never what is in it.
    async fn secrets(&self, variables: Vec<SecretVar>) -> Result<Vec<(String, String)>, String> {
        let Some(root) = self.references.clone().filter(|_| !variables.is_empty()) else {
            return match variables.first() {
                None => Ok(vec![]),
                Some(variable) => Err(format!(
                    "secret `{}` cannot be read: this node has no `pools.references-dir`",
                    variable.secret
                )),
            };
        };
        let values = tokio::task::spawn_blocking(move || {
            let values: Vec<(String, String)> =
                variables.into_iter().map(|variable| value_of(&root, variable)).collect::<Result<_, _>>()?;
            let len: usize = values.iter().map(|(_, value)| value.len()).sum();
            match SECRETS_LEN_MAX < len {
                true => Err(format!("its secrets have more than {SECRETS_LEN_MAX} bytes together")),
                false => Ok(values),
            }
        });
        values.await.unwrap_or_else(|_| Err("its secrets were not read".to_owned()))
    }

    async fn off<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Agents) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let agents = self.clone();
        tokio::task::spawn_blocking(move || work(&agents)).await.map_err(io::Error::other)?
    }
}

/// The value of a variable that is a secret. Blocks on the disk.
fn value_of(root: &Path, variable: SecretVar) -> Result<(String, String), String> {
    let SecretVar { name, secret, key } = variable;
    // Both are checked names: neither leads out of the folder.
    let folder = root.join("secrets").join(&secret);
    let path = key.as_ref().map_or_else(|| folder.clone(), |key| folder.join(key));
    let place = key.as_ref().map_or_else(|| secret.clone(), |key| format!("{secret}/{key}"));
    let failed = |why: &dyn std::fmt::Display| format!("secret `{place}` cannot be read: {why}");
    let bytes = reference::value(&path).map_err(|error| failed(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| failed(&"it is not UTF-8"))?;
    if text.contains('\0') {
        return Err(failed(&"it has a NUL, which no variable can have"));
    }
    // As editors and `echo` leave it behind.
    let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
    Ok((name, text))
}

/// The member whose pod has this name.
fn member_called(name: &str) -> Option<MemberId> {
    let (pool, member) = name.rsplit_once('-')?;
    let id = MemberId { pool: PoolName::new(pool).ok()?, member: member.parse().ok()? };
    // Of the ways to write a number only one is the member's.
    (id.pod_name() == name).then_some(id)
}

/// Who comes in at the agents' socket: the members of pools, by their tokens.
pub struct Members {
    /// The agents' place.
    pub agents: Agents,
    /// The node.
    pub service: Service,
}

/// What the principal of an agent begins with.
const PRINCIPAL: &str = "agent:";

impl Members {
    /// The agent that shows this token.
    ///
    /// # Errors
    /// It is no member's token.
    pub fn principal(&self, token: Option<&str>) -> Result<Principal, Problem> {
        let node = self.service.world(|world| world.node_uid);
        let member = node.zip(token).and_then(|(node, token)| self.agents.member_of(node, token));
        let member = member.ok_or_else(|| {
            let detail = "send `Authorization: Bearer <token>` with the token in the agent's folder";
            Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        })?;
        Ok(Principal::new(&format!("{PRINCIPAL}{}", member.pod_name())))
    }
}

/// The member that a principal is the agent of.
fn member_of(principal: &Principal) -> Option<MemberId> {
    member_called(principal.as_str().strip_prefix(PRINCIPAL)?)
}

/// What a token stands for. A node that was set up anew gives its members other ones.
fn parts(node: NodeUid, name: &str) -> [Vec<u8>; 3] {
    [TOKEN_OF.to_vec(), node.0.as_bytes().to_vec(), name.as_bytes().to_vec()]
}

#[async_trait]
impl PoolHost for Agents {
    fn local_time(&self, zone: &str, at: Timestamp) -> Option<LocalTime> {
        zone::shown(zone, at)
    }

    async fn digest(&self, reference: &Reference) -> io::Result<String> {
        let Some(root) = &self.references else { return Ok(String::new()) };
        let folder = match reference.kind {
            ReferenceKind::Secret => "secrets",
            ReferenceKind::Config => "configs",
        };
        // The name is a subdomain: it has no `/`, and does not begin with a dot.
        let (path, kind) = (root.join(folder).join(&reference.name), folder.as_bytes().to_vec());
        let name = reference.name.clone().into_bytes();
        let content = self.off(move |agents| {
            reference::content(&path).map(|content| {
                content.map(|content| agents.key.token(&[DIGEST_OF.to_vec(), kind, name, content]))
            })
        });
        Ok(content.await?.unwrap_or_default())
    }

    async fn prepare(&self, node: NodeUid, member: &MemberId, user: Option<u32>) -> io::Result<PathBuf> {
        let name = member.pod_name();
        self.off(move |agents| {
            let token = format!("{name}.{}", agents.key.token(&parts(node, &name)));
            agents.folders.make(&name, &token, user)
        })
        .await
    }

    async fn forget(&self, pod_name: &str) -> io::Result<()> {
        let name = pod_name.to_owned();
        self.off(move |agents| agents.folders.remove(&name)).await
    }

    async fn prepared(&self) -> io::Result<Vec<String>> {
        self.off(|agents| agents.folders.names()).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use uuid::Uuid;

    use super::*;

    fn agents(folder: &Path) -> Agents {
        let random = |buffer: &mut [u8]| {
            buffer.fill(9);
            Ok(())
        };
        let agents = Agents::open(&folder.join("agents"), Some(folder.to_path_buf()), random).unwrap();
        fs::write(agents.socket(), "").unwrap();
        agents
    }

    #[tokio::test]
    async fn a_token_is_of_one_member_of_one_node() {
        let folder = tempfile::tempdir().unwrap();
        let agents = agents(folder.path());
        let node = NodeUid(Uuid::from_u128(1));
        let member = MemberId { pool: PoolName::new("iac-a").unwrap(), member: 12 };
        let place = agents.prepare(node, &member, None).await.unwrap();
        let token = fs::read_to_string(place.join("token")).unwrap();
        assert_eq!(agents.member_of(node, &token), Some(member));
        assert_eq!(agents.member_of(NodeUid(Uuid::from_u128(2)), &token), None);
        for wrong in
            [token.replace("-12.", "-13."), token.replace("-12.", "-012."), String::new(), "a.b".into()]
        {
            assert_eq!(agents.member_of(node, &wrong), None, "{wrong}");
        }
        assert_eq!(agents.prepared().await.unwrap(), ["iac-a-12"]);
        agents.forget("iac-a-12").await.unwrap();
        assert!(!place.exists());
    }

    #[tokio::test]
    async fn a_secret_is_a_file_or_one_of_a_folder_and_is_not_told_in_errors() {
        let folder = tempfile::tempdir().unwrap();
        let agents = agents(folder.path());
        let secrets = folder.path().join("secrets");
        fs::create_dir_all(secrets.join("cloud")).unwrap();
        fs::write(secrets.join("cloud/id"), "hunter2\n").unwrap();
        fs::write(secrets.join("plain"), b"a b").unwrap();
        fs::write(secrets.join("binary"), b"hunter\xff").unwrap();
        let of = |secret: &str, key: Option<&str>| {
            let (secret, key) = (secret.to_owned(), key.map(str::to_owned));
            agents.secrets(vec![SecretVar { name: "KEY".to_owned(), secret, key }])
        };
        let is = |value: &str| Ok(vec![("KEY".to_owned(), value.to_owned())]);
        assert_eq!(of("cloud", Some("id")).await, is("hunter2"));
        assert_eq!(of("plain", None).await, is("a b"));
        for (secret, key) in [("cloud", None), ("cloud", Some("no")), ("none", None), ("binary", None)] {
            let refused = of(secret, key).await.unwrap_err();
            assert!(refused.contains(secret) && !refused.contains("hunter"), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_digest_is_of_one_reference() {
        let folder = tempfile::tempdir().unwrap();
        let agents = agents(folder.path());
        let reference = |kind| Reference { kind, name: "cloud".to_owned() };
        for kind in ["secrets", "configs"] {
            fs::create_dir(folder.path().join(kind)).unwrap();
            fs::write(folder.path().join(kind).join("cloud"), "same").unwrap();
        }
        let secret = agents.digest(&reference(ReferenceKind::Secret)).await.unwrap();
        let config = agents.digest(&reference(ReferenceKind::Config)).await.unwrap();
        assert_eq!(secret.len(), 64);
        assert_ne!(secret, config);
        let none = Reference { kind: ReferenceKind::Secret, name: "none".to_owned() };
        assert_eq!(agents.digest(&none).await.unwrap(), "");
    }
}
