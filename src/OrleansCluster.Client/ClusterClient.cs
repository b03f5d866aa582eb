using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using k8s;
using k8s.Models;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans.Configuration;
using OrleansCluster.Api;
using OrleansCluster.Client.Security;

namespace OrleansCluster.Client;

/// <summary>
/// The cluster as typed objects over Orleans, without HTTP: reads and watches from a silo's cache, writes through the object's grain. Model types are
/// those of the official C# client. A refused request throws <see cref="StatusException"/>; calls of unknown outcome are repeated so that nothing
/// happens twice (see <see cref="ObjectWriter"/>). Safe for concurrent use; one per program suffices.
/// </summary>
public sealed class ClusterClient : IAsyncDisposable
{
    /// <summary>Objects per page of a list: bounds a message to about a megabyte of pods.</summary>
    private const int PageSize = 500;

    private readonly IHost _host;
    private readonly ObjectWriter _writer;
    private readonly ResourceRegistry _registry = new(BuiltInResources.All);
    private readonly TimeProvider _time;

    private ClusterClient(IHost host, ClusterClientOptions options)
    {
        _host = host;
        _time = options.Time;
        Grains = host.Services.GetRequiredService<IClusterClient>();
        _writer = new ObjectWriter(Grains, options.Time, options.User);
        Objects = new GrainObjectClient(Grains, _writer, _registry);
    }

    /// <summary>All grains of the cluster, for what has no method here.</summary>
    public IGrainFactory Grains { get; }

    /// <summary>Untyped reads and writes by key: the interface that controllers use, served by grains.</summary>
    public IObjectClient Objects { get; }

    /// <summary>Connects to a cluster.</summary>
    /// <param name="options">Where and as whom.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="TimeoutException">No gateway answered, or none accepted the certificate, within <see cref="ClusterClientOptions.ConnectTimeout"/>.</exception>
    public static async Task<ClusterClient> ConnectAsync(ClusterClientOptions options, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        var members = new MemberCertificates(options.Authority, options.Certificate, options.Time);
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        timeout.CancelAfter(options.ConnectTimeout);
        Exception? last = null;
        var builder = new HostApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.UseOrleansClient(client =>
        {
            client.UseStaticClustering([.. options.Gateways]);
            client.Configure<ClusterOptions>(ids => ids.ServiceId = ids.ClusterId = "orleanscluster");
            client.Configure<ClientMessagingOptions>(messaging => messaging.ResponseTimeout = options.ResponseTimeout);
            client.Configure<GatewayOptions>(gateways => gateways.GatewayListRefreshPeriod = TimeSpan.FromSeconds(3));
            client.Configure<ClientConnectionOptions>(connections =>
                connections.ConfigureConnection(connection => connection.Use(next => context => members.ConnectAsync(context, next))));
            client.UseConnectionRetryFilter(async (error, _) =>
            {
                last = error;
                try
                {
                    await Task.Delay(TimeSpan.FromMilliseconds(250), options.Time, timeout.Token);
                    return true;
                }
                catch (OperationCanceledException)
                {
                    return false;
                }
            });
        });
        var host = builder.Build();
        try
        {
            await host.StartAsync(timeout.Token);
            return new ClusterClient(host, options);
        }
        catch (Exception error)
        {
            await DisposeAsync(host);
            cancellationToken.ThrowIfCancellationRequested();
            throw new TimeoutException(
                $"No gateway at {string.Join(", ", options.Gateways)} let this client in within {options.ConnectTimeout.TotalSeconds:0.#} s: {(last ?? error).Message}", last ?? error);
        }
    }

    /// <summary>One object, or null. Not older than the call.</summary>
    /// <typeparam name="T">Model type, e.g. <see cref="V1Pod"/>.</typeparam>
    /// <param name="name">Name.</param>
    /// <param name="namespace">Namespace; the empty string for cluster-scoped kinds.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<T?> GetAsync<T>(string name, string @namespace, CancellationToken cancellationToken = default)
        where T : class, IKubernetesObject<V1ObjectMeta> =>
        await Reader(ResourceType.Of<T>()).GetAsync(@namespace, name, cancellationToken) is { } bytes ? KubernetesModel.Read<T>(bytes) : null;

    /// <summary>All objects that match, sorted by namespace and name, as of one revision or later (pages may see later changes).</summary>
    /// <param name="query">Which; null for all.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<ObjectList<T>> ListAsync<T>(ObjectQuery? query = null, CancellationToken cancellationToken = default)
        where T : class, IKubernetesObject<V1ObjectMeta>
    {
        var (revision, objects) = await GrainObjectClient.ReadAllAsync(Reader(ResourceType.Of<T>()), Wire(query), PageSize, cancellationToken);
        return new ObjectList<T>([.. objects.Select(bytes => KubernetesModel.Read<T>(bytes))], revision);
    }

    /// <summary>Creates an object and returns it as stored. With `generateName` and no name, a name is made.</summary>
    /// <exception cref="StatusException">Refused, e.g. invalid or already there.</exception>
    public async Task<T> CreateAsync<T>(T obj, CancellationToken cancellationToken = default)
        where T : class, IKubernetesObject<V1ObjectMeta>
    {
        var reply = await _writer.CreateAsync(Definition(ResourceType.Of<T>()), KubernetesModel.Write(obj), cancellationToken);
        return KubernetesModel.Read<T>(reply.Object);
    }

    /// <summary>Replaces an object; its `resourceVersion`, if set, must be the current one.</summary>
    /// <param name="obj">The object with name and namespace.</param>
    /// <param name="subresource">`status`, `scale`, or the empty string.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="StatusException">Refused, e.g. a conflict.</exception>
    public async Task<T> UpdateAsync<T>(T obj, string subresource = "", CancellationToken cancellationToken = default)
        where T : class, IKubernetesObject<V1ObjectMeta>
    {
        ArgumentNullException.ThrowIfNull(obj);
        var key = ResourceType.Of<T>().Key(obj.Metadata.NamespaceProperty ?? "", obj.Metadata.Name);
        var reply = await _writer.UpdateAsync(key, KubernetesModel.Write(obj), subresource, cancellationToken);
        return KubernetesModel.Read<T>(reply.Object);
    }

    /// <summary>Applies a merge patch (RFC 7386).</summary>
    /// <param name="name">Name.</param>
    /// <param name="namespace">Namespace; the empty string for cluster-scoped kinds.</param>
    /// <param name="mergePatch">The members to change; null removes one.</param>
    /// <param name="subresource">`status`, `scale`, or the empty string.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="StatusException">Refused.</exception>
    public async Task<T> PatchAsync<T>(string name, string @namespace, JsonObject mergePatch, string subresource = "", CancellationToken cancellationToken = default)
        where T : class, IKubernetesObject<V1ObjectMeta>
    {
        var reply = await _writer.PatchAsync(ResourceType.Of<T>().Key(@namespace, name), mergePatch, subresource, cancellationToken);
        return KubernetesModel.Read<T>(reply.Object);
    }

    /// <summary>Deletes an object; false if it was not there. Pods end with their grace period, finalizers are waited for by the cluster.</summary>
    /// <param name="name">Name.</param>
    /// <param name="namespace">Namespace; the empty string for cluster-scoped kinds.</param>
    /// <param name="options">Grace period, propagation, preconditions.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="StatusException">Refused, e.g. by a precondition.</exception>
    public async Task<bool> DeleteAsync<T>(string name, string @namespace, DeleteOptions? options = null, CancellationToken cancellationToken = default)
        where T : class, IKubernetesObject<V1ObjectMeta> =>
        await _writer.DeleteAsync(ResourceType.Of<T>().Key(@namespace, name), options ?? new DeleteOptions(), cancellationToken) is not null;

    /// <summary>
    /// All that matches now, as <see cref="WatchEventType.Added"/>, then every change, in order and without end. Interruptions are bridged: a silo that
    /// dies is replaced by another, and where the history no longer reaches back, the difference to what was told before is told. So a
    /// reader that applies each event to a dictionary always converges to what the cluster has.
    /// </summary>
    /// <param name="query">Which; null for all.</param>
    /// <param name="cancellationToken">Ends the watch.</param>
    public async IAsyncEnumerable<ObjectEvent<T>> WatchAsync<T>(ObjectQuery? query = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
        where T : class, IKubernetesObject<V1ObjectMeta>
    {
        var follower = new ResourceFollower(Reader(ResourceType.Of<T>()), Wire(query), _time);
        while (true)
        {
            foreach (var change in await follower.ReadAsync(cancellationToken))
                yield return new ObjectEvent<T>(change.Type, KubernetesModel.Read<T>(change.Object));
        }
    }

    /// <summary>How the scheduler decided about a pod: every attempt, which nodes were refused by which plug-in, the best scores. Null before the first attempt.</summary>
    /// <param name="podUid">`metadata.uid` of the pod.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<JsonObject?> GetSchedulingTraceAsync(string podUid, CancellationToken cancellationToken = default) =>
        await Grains.GetGrain<ISchedulingDecisionGrain>(podUid).GetTraceAsync(cancellationToken) is { } bytes ? CanonicalJson.Parse(bytes) : null;

    /// <summary>Disconnects.</summary>
    public ValueTask DisposeAsync() => DisposeAsync(_host);

    private static async ValueTask DisposeAsync(IHost host)
    {
        try
        {
            await host.StopAsync();
        }
        finally
        {
            if (host is IAsyncDisposable disposable)
                await disposable.DisposeAsync();
            else
                host.Dispose();
        }
    }

    private static ListQuery Wire(ObjectQuery? query) => new()
    {
        Namespace = query?.Namespace ?? "",
        LabelSelector = query?.LabelSelector ?? "",
        FieldSelector = query?.FieldSelector ?? "",
    };

    private ResourceDefinition Definition(ResourceType type) => _registry.Find(type.Resource)
        ?? throw new ArgumentException($"The cluster does not serve {type.Kind} ({type.ApiVersion}).");

    private IResourceReaderGrain Reader(ResourceType type) => Grains.GetGrain<IResourceReaderGrain>(Definition(type).Resource);
}
