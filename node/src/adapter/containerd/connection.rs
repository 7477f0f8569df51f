//! The line to containerd: one lazy channel that outlives restarts of the service, with a time limit per call.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::services::v1::{
    AddResourceRequest, CreateRequest, DeleteRequest, Lease, ListRequest, Resource,
};
use hyper_util::rt::TokioIo;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use super::failure::is_away;

/// Longest time that an ordinary call may take.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(15);
/// Longest time that making a task, or a command in it, may take: runc and a cold disk are behind it.
pub(super) const TASK_LIMIT: Duration = Duration::from_secs(60);
/// Longest time that one layer may take to be written or unpacked.
pub(super) const LAYER_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Largest message that is read: containerd's own limit. tonic's default is less.
const MESSAGE_LEN_MAX: usize = 16 << 20;

/// Calls in one containerd namespace, perhaps under a lease.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    channel: Channel,
    namespace: MetadataValue<Ascii>,
    lease: Option<HeldLease>,
}

/// Says on a lease whose it is.
const OWNER_LABEL: &str = "purser.dev/owner";

#[derive(Debug, Clone)]
struct HeldLease {
    id: String,
    header: MetadataValue<Ascii>,
}

impl Connection {
    /// A line that is opened by the first call, and again by the next call after it broke.
    pub(super) fn lazy(socket: &Path, namespace: &str) -> Connection {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint =
            Endpoint::from_static("http://containerd.invalid").connect_timeout(Duration::from_secs(3));
        Connection {
            channel: endpoint.connect_with_connector_lazy(connector),
            namespace: namespace.parse().expect("the configuration's check admits header characters only"),
            lease: None,
        }
    }

    /// The same line; what is made over it is kept until the lease ends.
    pub(super) fn under(&self, lease: &str) -> Connection {
        let header = lease.parse().expect("a lease id is made of hexadecimal digits and '-'");
        Connection { lease: Some(HeldLease { id: lease.to_owned(), header }), ..self.clone() }
    }

    /// A message with the headers that containerd wants.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("containerd-namespace", self.namespace.clone());
        if let Some(lease) = &self.lease {
            request.metadata_mut().insert("containerd-lease", lease.header.clone());
        }
        request
    }

    pub(super) fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LEN_MAX)
    }

    pub(super) fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LEN_MAX)
    }

    pub(super) fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LEN_MAX)
    }

    pub(super) fn diff(&self) -> DiffClient<Channel> {
        DiffClient::new(self.channel.clone())
    }

    pub(super) fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LEN_MAX)
    }

    pub(super) fn tasks(&self) -> TasksClient<Channel> {
        TasksClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LEN_MAX)
    }

    pub(super) fn events(&self) -> EventsClient<Channel> {
        EventsClient::new(self.channel.clone())
    }

    pub(super) fn version(&self) -> VersionClient<Channel> {
        VersionClient::new(self.channel.clone())
    }

    /// Keeps what calls under it make until [`Connection::release`], or until `expires`, in RFC 3339. `owner` says
    /// whose it is, for [`Connection::release_all_of`].
    pub(super) async fn lease(&self, id: &str, owner: &str, expires: String) -> Result<Connection, Status> {
        let labels =
            [("containerd.io/gc.expire".to_owned(), expires), (OWNER_LABEL.to_owned(), owner.to_owned())]
                .into();
        let request = self.request(CreateRequest { id: id.to_owned(), labels });
        within(CALL_LIMIT, LeasesClient::new(self.channel.clone()).create(request)).await?;
        Ok(self.under(id))
    }

    /// Keeps something that may be there already, and that nothing may refer to any more, for as long as the lease
    /// of this line: to be called before looking whether it is there. Without a lease it does nothing.
    pub(super) async fn keep(&self, kind: &str, id: &str) -> Result<(), Status> {
        let Some(lease) = &self.lease else { return Ok(()) };
        let resource = Some(Resource { id: id.to_owned(), r#type: kind.to_owned() });
        let request = self.request(AddResourceRequest { id: lease.id.clone(), resource });
        within(CALL_LIMIT, LeasesClient::new(self.channel.clone()).add_resource(request)).await.map(|_| ())
    }

    /// Ends the leases of an owner: those that a kill of the service left.
    pub(super) async fn release_all_of(&self, owner: &str) -> Result<(), Status> {
        let request = self.request(ListRequest { filters: Vec::new() });
        let leases = within(CALL_LIMIT, LeasesClient::new(self.channel.clone()).list(request)).await?;
        let is_left = |lease: &Lease| lease.labels.get(OWNER_LABEL).is_some_and(|label| label == owner);
        for lease in leases.leases.into_iter().filter(is_left) {
            self.release(&lease.id).await?;
        }
        Ok(())
    }

    /// Ends a lease. What is referred to by nothing else may be collected from now on.
    pub(super) async fn release(&self, id: &str) -> Result<(), Status> {
        let request = self.request(DeleteRequest { id: id.to_owned(), sync: false });
        within(CALL_LIMIT, LeasesClient::new(self.channel.clone()).delete(request)).await.map(|_| ())
    }
}

/// Makes a call with a limit: a containerd that hangs must not hang the node.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {} s", limit.as_secs()))),
    }
}

/// Makes a call that changes nothing, and once more if the connection broke under it: the first call after a
/// restart of containerd may still meet the old connection.
pub(super) async fn look<T, F>(call: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    match within(CALL_LIMIT, call()).await {
        Err(status) if matches!(status.code(), Code::Unknown | Code::Cancelled) && is_away(&status) => {
            within(CALL_LIMIT, call()).await
        }
        result => result,
    }
}
