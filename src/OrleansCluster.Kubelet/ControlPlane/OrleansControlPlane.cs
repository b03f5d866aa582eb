using OrleansCluster.Api;

namespace OrleansCluster.Kubelet.ControlPlane;

/// <summary>
/// The control plane as an Orleans client sees it. Many nodes share one client. Calls are bounded in time: an external client would else wait its
/// whole response time-out for a silo that died.
/// </summary>
internal sealed class OrleansControlPlane(IGrainFactory grains, TimeSpan callTimeout, TimeProvider time) : IControlPlane
{
    public async Task<NodeConnection> ConnectAsync(string node, string sessionId, INodeObserver observer, CancellationToken cancellationToken)
    {
        var reference = grains.CreateObjectReference<INodeObserver>(observer);
        var registration = new ObserverRegistration(grains, reference, observer);
        try
        {
            var reply = await BoundedAsync(
                token => Node(node).ConnectAsync(reference, new NodeHello { SessionId = sessionId }, token), cancellationToken);
            return new NodeConnection(reply.HeartbeatInterval, registration);
        }
        catch
        {
            registration.Dispose();
            throw;
        }
    }

    public Task<HeartbeatReply> HeartbeatAsync(string node, string sessionId, CancellationToken cancellationToken) =>
        BoundedAsync(token => Node(node).HeartbeatAsync(new NodeHeartbeat { SessionId = sessionId }, token), cancellationToken);

    public Task DisconnectAsync(string node, string sessionId, CancellationToken cancellationToken) =>
        BoundedAsync(async token =>
        {
            await Node(node).DisconnectAsync(sessionId, token);
            return true;
        }, cancellationToken);

    public Task<ObjectReply> ExecuteAsync(ObjectKey key, ObjectRequest request, CancellationToken cancellationToken) =>
        BoundedAsync(token => grains.GetGrain<IObjectGrain>(key.ToString()).ExecuteAsync(request, token), cancellationToken);

    public Task<byte[]?> GetAsync(ObjectKey key, CancellationToken cancellationToken) =>
        BoundedAsync(token => Reader(key.Resource).GetAsync(key.Namespace, key.Name, token), cancellationToken);

    public Task<byte[][]> ListAsync(string resource, string @namespace, CancellationToken cancellationToken) =>
        BoundedAsync(async token =>
        {
            var page = await Reader(resource).ListAsync(new ListQuery { Namespace = @namespace }, token);
            return page.Objects;
        }, cancellationToken);

    private INodeGrain Node(string node) => grains.GetGrain<INodeGrain>(node);

    private IResourceReaderGrain Reader(string resource) => grains.GetGrain<IResourceReaderGrain>(resource);

    private async Task<T> BoundedAsync<T>(Func<CancellationToken, Task<T>> call, CancellationToken cancellationToken)
    {
        // The token also travels with the call; WaitAsync is for a callee that cannot hear it any more.
        using var timeout = new CancellationTokenSource(callTimeout, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        try
        {
            return await call(linked.Token).WaitAsync(linked.Token);
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException($"The control plane did not answer within {callTimeout.TotalSeconds:0.#} s.", exception);
        }
    }

    /// <summary>Orleans holds observers weakly: this keeps the object, and removes its reference at the end.</summary>
    private sealed class ObserverRegistration(IGrainFactory grains, INodeObserver reference, INodeObserver observer) : IDisposable
    {
        private INodeObserver? _observer = observer;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _observer, null) is not null)
                grains.DeleteObjectReference<INodeObserver>(reference);
        }
    }
}
