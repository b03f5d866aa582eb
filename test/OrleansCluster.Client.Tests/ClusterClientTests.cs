using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json.Nodes;
using k8s;
using k8s.Models;
using OrleansCluster.Api;
using OrleansCluster.Testing;

namespace OrleansCluster.Client.Tests;

/// <summary>The SDK against a whole cluster, over its gateway.</summary>
public sealed class ClusterClientTests : IAsyncLifetime
{
    private TestCluster _cluster = null!;
    private ClusterClient _client = null!;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _cluster = await TestCluster.StartAsync(new TestClusterOptions { InMemory = false }, Cancellation);
        _client = await ClusterClient.ConnectAsync(_cluster.ClientOptions(), Cancellation);
    }

    public async ValueTask DisposeAsync()
    {
        await _client.DisposeAsync();
        await _cluster.DisposeAsync();
    }

    [Fact]
    public async Task Objects_EveryVerb_RoundTripsTyped()
    {
        var created = await _client.CreateAsync(Map("settings", "1"), Cancellation);
        Assert.NotEmpty(created.Metadata.Uid);
        Assert.NotEmpty(created.Metadata.ResourceVersion);

        created.Data["a"] = "2";
        var updated = await _client.UpdateAsync(created, cancellationToken: Cancellation);
        Assert.NotEqual(created.Metadata.ResourceVersion, updated.Metadata.ResourceVersion);
        var conflict = await Assert.ThrowsAsync<StatusException>(() => _client.UpdateAsync(created, cancellationToken: Cancellation));
        Assert.Equal((409, "Conflict"), (conflict.Status.Code, conflict.Status.Reason));

        var patched = await _client.PatchAsync<V1ConfigMap>(
            "settings", "default", new JsonObject { ["data"] = new JsonObject { ["b"] = "3" } }, cancellationToken: Cancellation);
        Assert.Equal(["a=2", "b=3"], patched.Data.OrderBy(d => d.Key, StringComparer.Ordinal).Select(d => $"{d.Key}={d.Value}"));
        var read = await _client.GetAsync<V1ConfigMap>("settings", "default", Cancellation);
        Assert.Equal(patched.Metadata.ResourceVersion, read!.Metadata.ResourceVersion);

        Assert.True(await _client.DeleteAsync<V1ConfigMap>("settings", "default", cancellationToken: Cancellation));
        Assert.False(await _client.DeleteAsync<V1ConfigMap>("settings", "default", cancellationToken: Cancellation));
        Assert.Null(await _client.GetAsync<V1ConfigMap>("settings", "default", Cancellation));
    }

    [Fact]
    public async Task CreateAsync_Refused_ThrowsTheStatus()
    {
        await _client.CreateAsync(Map("twice", "1"), Cancellation);
        var twice = await Assert.ThrowsAsync<StatusException>(() => _client.CreateAsync(Map("twice", "1"), Cancellation));
        Assert.Equal((409, "AlreadyExists"), (twice.Status.Code, twice.Status.Reason));
        var invalid = await Assert.ThrowsAsync<StatusException>(() => _client.CreateAsync(Map("Not_A_Name", "1"), Cancellation));
        Assert.Equal((422, "Invalid"), (invalid.Status.Code, invalid.Status.Reason));
        Assert.Contains(invalid.Status.Causes, c => c.Field == "metadata.name");
    }

    [Fact]
    public async Task CreateAsync_GenerateName_MakesAName()
    {
        var map = Map("", "1");
        map.Metadata.Name = null;
        map.Metadata.GenerateName = "made-";
        var created = await _client.CreateAsync(map, Cancellation);
        Assert.Matches("^made-[a-z0-9]{5}$", created.Metadata.Name);
    }

    [Fact]
    public async Task ListAsync_MorePagesThanOne_GivesAllInOrderAndSelects()
    {
        const int count = 1100;
        await Parallel.ForEachAsync(
            Enumerable.Range(0, count), new ParallelOptions { MaxDegreeOfParallelism = 64, CancellationToken = Cancellation },
            async (i, token) => await _client.CreateAsync(Map($"m-{i:0000}", $"{i}", i % 10 == 0 ? "tenth" : "other"), token));
        var all = await _client.ListAsync<V1ConfigMap>(new ObjectQuery { Namespace = "default", LabelSelector = "kind" }, Cancellation);
        Assert.Equal(Enumerable.Range(0, count).Select(i => $"m-{i:0000}"), all.Items.Select(m => m.Metadata.Name));
        var tenth = await _client.ListAsync<V1ConfigMap>(new ObjectQuery { LabelSelector = "kind=tenth" }, Cancellation);
        Assert.Equal(count / 10, tenth.Items.Count);
        var one = await _client.ListAsync<V1ConfigMap>(new ObjectQuery { FieldSelector = "metadata.name=m-0042" }, Cancellation);
        Assert.Equal("42", Assert.Single(one.Items).Data["a"]);
    }

    [Fact]
    public async Task WatchAsync_ClusterRestarts_GoesOnByItself()
    {
        await _client.CreateAsync(Map("before", "1"), Cancellation);
        await using var watch = _client.WatchAsync<V1ConfigMap>(new ObjectQuery { Namespace = "default", LabelSelector = "kind" }, Cancellation)
            .GetAsyncEnumerator(Cancellation);
        await ExpectAsync(watch, WatchEventType.Added, "before");
        await _client.PatchAsync<V1ConfigMap>("before", "default", new JsonObject { ["data"] = new JsonObject { ["a"] = "2" } }, cancellationToken: Cancellation);
        await ExpectAsync(watch, WatchEventType.Modified, "before");

        var next = watch.MoveNextAsync().AsTask();
        await _cluster.RestartAsync(Cancellation);
        await _cluster.Kubernetes.DeleteNamespacedConfigMapAsync("before", "default", cancellationToken: Cancellation);
        Assert.True(await next.WaitAsync(TimeSpan.FromSeconds(60), Cancellation));
        Assert.Equal((WatchEventType.Deleted, "before"), (watch.Current.Type, watch.Current.Object.Metadata.Name));
    }

    [Fact]
    public async Task GetSchedulingTraceAsync_PodThatFitsNowhere_NamesThePlugin()
    {
        var pod = await _client.CreateAsync(
            new V1Pod
            {
                Metadata = new V1ObjectMeta { Name = "huge", NamespaceProperty = "default" },
                Spec = new V1PodSpec
                {
                    Containers =
                    [
                        new V1Container
                        {
                            Name = "app",
                            Image = "hello:1",
                            Resources = new V1ResourceRequirements
                            {
                                Requests = new Dictionary<string, ResourceQuantity>(StringComparer.Ordinal) { ["cpu"] = new("1000") },
                            },
                        },
                    ],
                },
            },
            Cancellation);
        await _cluster.WaitForAsync<V1Pod>(
            p => p.Single().Status.Conditions?.Any(c => c.Reason == "Unschedulable") == true, "the pod is told unschedulable", cancellationToken: Cancellation);
        var trace = await _client.GetSchedulingTraceAsync(pod.Metadata.Uid, Cancellation);
        Assert.Contains("Insufficient cpu", trace!.ToJsonString(), StringComparison.Ordinal);
        Assert.Null(await _client.GetSchedulingTraceAsync(Guid.NewGuid().ToString(), Cancellation));
    }

    [Fact]
    public async Task Objects_UntypedClient_ReadsItsOwnWrites()
    {
        var key = new ObjectKey("configmaps", "default", "plain");
        for (var i = 0; i < 20; i++)
        {
            var written = await _client.Objects.CreateAsync(
                "configmaps",
                new JsonObject
                {
                    ["kind"] = "ConfigMap",
                    ["apiVersion"] = "v1",
                    ["metadata"] = new JsonObject { ["name"] = "plain", ["namespace"] = "default", ["labels"] = new JsonObject { ["app"] = "x" } },
                },
                Cancellation);
            var read = await _client.Objects.GetAsync(key, Cancellation);
            Assert.Equal((string?)written["metadata"]!["uid"], read!.Uid);
            Assert.Equal("app", Assert.Single(read.Labels).Key);
            Assert.Equal("plain", read.Field("metadata.name"));
            var list = await _client.Objects.ListAsync("configmaps", Cancellation);
            Assert.Equal(read.Revision, list.Find("default", "plain")!.Revision);
            Assert.True(await _client.Objects.DeleteAsync(key, new DeleteOptions(PreconditionUid: read.Uid), Cancellation));
            Assert.Null(await _client.Objects.GetAsync(key, Cancellation));
        }
    }

    [Fact]
    public async Task ConnectAsync_CertificateOfNoMember_IsRefused()
    {
        var options = _cluster.ClientOptions() with { ConnectTimeout = TimeSpan.FromSeconds(2) };
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("O=orleanscluster:members, CN=impostor", key, HashAlgorithmName.SHA256);
        using var impostor = request.CreateSelfSigned(DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch.AddYears(100));
        await Assert.ThrowsAsync<TimeoutException>(() => ClusterClient.ConnectAsync(options with { Certificate = impostor }, Cancellation));
        // Issued by the authority, but for a user of the API: reaches no grain.
        using var user = X509Certificate2.CreateFromPemFile(
            Path.Combine(_cluster.DataDirectory, "pki", "admin.crt"), Path.Combine(_cluster.DataDirectory, "pki", "admin.key"));
        await Assert.ThrowsAsync<TimeoutException>(() => ClusterClient.ConnectAsync(options with { Certificate = user }, Cancellation));
    }

    [Fact]
    public void FromDataDirectory_NoCluster_SaysSo()
    {
        var error = Assert.Throws<FileNotFoundException>(() => ClusterClientOptions.FromDataDirectory(Path.GetTempPath()));
        Assert.Contains("There is no cluster in", error.Message, StringComparison.Ordinal);
    }

    private static async Task ExpectAsync(IAsyncEnumerator<ObjectEvent<V1ConfigMap>> watch, WatchEventType type, string name)
    {
        Assert.True(await watch.MoveNextAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(30), Cancellation));
        Assert.Equal((type, name), (watch.Current.Type, watch.Current.Object.Metadata.Name));
    }

    private static V1ConfigMap Map(string name, string value, string kind = "map") => new()
    {
        Metadata = new V1ObjectMeta
        {
            Name = name,
            NamespaceProperty = "default",
            Labels = new Dictionary<string, string>(StringComparer.Ordinal) { ["kind"] = kind },
        },
        Data = new Dictionary<string, string>(StringComparer.Ordinal) { ["a"] = value },
    };
}
