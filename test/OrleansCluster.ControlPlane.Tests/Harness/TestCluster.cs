using System.Text.Json.Nodes;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Orleans.Configuration;
using Orleans.TestingHost;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Scheduling;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Tests.Harness;

/// <summary>What a test wants of its cluster.</summary>
internal sealed record TestClusterOptions
{
    public TimeProvider Time { get; init; } = TimeProvider.System;

    public int Seed { get; init; } = 1;

    /// <summary>The controllers that run; null for all.</summary>
    public Type[]? Controllers { get; init; } = [];

    public bool Scheduler { get; init; }

    public Action<ControlPlaneOptions>? Configure { get; init; }

    public Action<IServiceCollection>? Services { get; init; }

    /// <summary>Stands between the silos and the store.</summary>
    public Func<IObjectStore, IObjectStore>? Store { get; init; }

    public int Silos { get; init; } = 1;
}

/// <summary>
/// Silos of this process with the real control plane, the real caches and the embedded store in a private file, without HTTP and without node agents.
/// </summary>
internal sealed class TestCluster : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly InProcessTestCluster _cluster;
    private readonly TestClusterOptions _options;

    private TestCluster(InProcessTestCluster cluster, TestClusterOptions options, IObjectStore inner)
    {
        _cluster = cluster;
        _options = options;
        Inner = inner;
    }

    /// <summary>The store itself, without what a test has put before it.</summary>
    public IObjectStore Inner { get; }

    public IServiceProvider Services => _cluster.Silos[0].ServiceProvider;

    public InProcessTestCluster Orleans => _cluster;

    public IGrainFactory Grains => Services.GetRequiredService<IGrainFactory>();

    public IResourceCaches Caches => Services.GetRequiredService<IResourceCaches>();

    public ResourceRegistry Registry => Services.GetRequiredService<ResourceRegistry>();

    public ObjectWriter Writer { get; private set; } = null!;

    public ObjectClient Client { get; private set; } = null!;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public static async Task<TestCluster> StartAsync(TestClusterOptions? given = null)
    {
        var options = given ?? new TestClusterOptions();
        var inner = SqliteObjectStore.Open(new SqliteStoreOptions(), options.Time, NullLogger<SqliteObjectStore>.Instance);
        var store = options.Store?.Invoke(inner) ?? inner;
        var builder = new InProcessTestClusterBuilder((short)options.Silos);
        builder.ConfigureSilo((_, silo) =>
        {
            silo.Services.AddSingleton(options.Time);
            silo.Services.AddSingleton<Random>(new SharedRandom(options.Seed));
            silo.Services.AddSingleton(new ResourceRegistry(BuiltInResources.All));
            silo.Services.AddSingleton(store);
            silo.Services.AddResourceCaches();
            silo.Services.AddControlPlane(options.Configure);
            silo.Services.AddLogging(logging => logging.SetMinimumLevel(LogLevel.Warning));
            silo.Configure<SiloMessagingOptions>(messaging => messaging.ResponseTimeout = TimeSpan.FromSeconds(10));
            Reduce(silo.Services, options);
            options.Services?.Invoke(silo.Services);
        });
        var cluster = builder.Build();
        await cluster.DeployAsync();
        var result = new TestCluster(cluster, options, inner);
        result.Writer = new ObjectWriter(result.Grains, TimeProvider.System, UserInfo.ControlPlane, new SharedRandom(options.Seed + 1));
        result.Client = new ObjectClient(result.Writer, result.Caches, result.Registry);
        try
        {
            await result.CreateAsync("namespaces", """{"metadata":{"name":"default"}}""");
        }
        catch (StatusException error) when (error.Status.Reason == "AlreadyExists")
        {
            // A second cluster on the store of a first.
        }
        return result;
    }

    public async Task<JsonObject> CreateAsync(string resource, string json) => await CreateAsync(resource, (JsonObject)JsonNode.Parse(json)!);

    public async Task<JsonObject> CreateAsync(string resource, JsonObject obj) => await Client.CreateAsync(resource, obj, Cancellation);

    /// <summary>The newest state of an object, or null.</summary>
    public async Task<JsonObject?> GetAsync(string resource, string name, string @namespace = "default")
    {
        var snapshot = await Caches.Get(resource).GetLatestAsync(Cancellation);
        return snapshot.Find(Registry.Get(resource).Namespaced ? @namespace : "", name)?.ToJson();
    }

    /// <summary>The newest state of all objects.</summary>
    public async Task<List<JsonObject>> ListAsync(string resource)
    {
        var snapshot = await Caches.Get(resource).GetLatestAsync(Cancellation);
        return [.. snapshot.Enumerate().Select(o => o.ToJson())];
    }

    public ObjectKey Key(string resource, string name, string @namespace = "default") =>
        new(resource, Registry.Get(resource).Namespaced ? @namespace : "", name);

    public Task PatchAsync(string resource, string name, string mergePatch, string subresource = "") =>
        Client.PatchAsync(Key(resource, name), (JsonObject)JsonNode.Parse(mergePatch)!, Cancellation, subresource);

    public Task DeleteAsync(string resource, string name, DeleteOptions? options = null) =>
        Client.DeleteAsync(Key(resource, name), options ?? new DeleteOptions(), Cancellation);

    public Task<ObjectReply> ExecuteAsync(ObjectKey key, ObjectRequest request) => Writer.ExecuteAsync(key, request, Cancellation);

    /// <summary>
    /// Asks until the answer is right and returns it; a time-out tells the last one. With a fake clock, time passes in steps while it asks.
    /// </summary>
    public async Task<T> UntilAsync<T>(string what, Func<Task<T>> ask, Func<T, bool> holds, TimeSpan? step = null, TimeSpan? patience = null)
    {
        var limit = patience ?? Patience;
        var began = TimeProvider.System.GetTimestamp();
        while (true)
        {
            var seen = await ask();
            if (holds(seen))
                return seen;
            if (TimeProvider.System.GetElapsedTime(began) > limit)
                throw new TimeoutException($"Waited {limit.TotalSeconds} s until {what}. Seen last: {Describe(seen)}");
            if (_options.Time is FakeTimeProvider fake)
                fake.Advance(step ?? TimeSpan.FromMilliseconds(100));
            await Task.Delay(5, Cancellation); // Paces the questions; the condition itself is not bound to a time.
        }
    }

    public Task UntilAsync(string what, Func<Task<bool>> ask, TimeSpan? step = null) => UntilAsync(what, ask, static b => b, step);

    public async ValueTask DisposeAsync()
    {
        await _cluster.StopAllSilosAsync();
        await _cluster.DisposeAsync();
        await Inner.DisposeAsync();
    }

    private static void Reduce(IServiceCollection services, TestClusterOptions options)
    {
        foreach (var descriptor in services.ToArray())
        {
            if ((descriptor.ServiceType == typeof(IController) && options.Controllers is { } kept && !kept.Contains(descriptor.ImplementationType))
                || (!options.Scheduler && descriptor.ImplementationFactory?.GetType().GenericTypeArguments is [_, { } made] && made == typeof(SchedulerWorker)))
            {
                services.Remove(descriptor);
            }
        }
    }

    private static string Describe<T>(T value) => value switch
    {
        null => "null",
        JsonNode node => node.ToJsonString(),
        System.Collections.IEnumerable items and not string => "[" + string.Join("; ", items.Cast<object?>().Select(i => i is JsonNode n ? n.ToJsonString() : i?.ToString())) + "]",
        _ => value.ToString() ?? "",
    };

    /// <summary>A seeded source that many threads may use.</summary>
    private sealed class SharedRandom(int seed) : Random(seed)
    {
        private readonly Lock _gate = new();

        public override int Next()
        {
            lock (_gate)
                return base.Next();
        }

        public override int Next(int maxValue)
        {
            lock (_gate)
                return base.Next(maxValue);
        }

        public override int Next(int minValue, int maxValue)
        {
            lock (_gate)
                return base.Next(minValue, maxValue);
        }

        public override double NextDouble()
        {
            lock (_gate)
                return base.NextDouble();
        }

        public override void NextBytes(byte[] buffer)
        {
            lock (_gate)
                base.NextBytes(buffer);
        }

        public override void NextBytes(Span<byte> buffer)
        {
            lock (_gate)
                base.NextBytes(buffer);
        }
    }
}
