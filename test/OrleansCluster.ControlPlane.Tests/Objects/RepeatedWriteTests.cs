using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Tests.Harness;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Tests.Objects;

/// <summary>A request whose first call had no answer comes a second time, to the activation that carried it out and to one that knows nothing of it.</summary>
public sealed class RepeatedWriteTests : IAsyncDisposable
{
    /// <summary>Once: `b` is 0. Twice: `b` is x.</summary>
    private const string Shift = """[{"op":"move","from":"/data/a","path":"/data/b"},{"op":"add","path":"/data/a","value":"x"}]""";

    private TestCluster? _cluster;
    private long _sentAfter;

    private TestCluster Cluster => _cluster!;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public async ValueTask DisposeAsync()
    {
        if (_cluster is not null)
            await _cluster.DisposeAsync();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task JsonPatch_CarriedOutAlready_IsAnsweredFromMemoryOrRefusedButNeverAppliedTwice(bool forgotten)
    {
        await StartAsync();
        var request = Patch(MediaTypes.JsonPatch, Shift);
        var first = await SendAsync(request);
        if (forgotten)
            await ForgetAsync();
        var second = await SendAsync(request with { Repeated = true });

        Assert.Equal(forgotten ? 504 : 200, second.Code);
        if (!forgotten)
            Assert.Equal(first.Revision, second.Revision);
        Assert.Equal("0", (await Cluster.GetAsync("configmaps", "a"))!.At("data", "b"));
    }

    [Fact]
    public async Task JsonPatch_NotCarriedOutBefore_IsCarriedOut()
    {
        await StartAsync();
        var request = Patch(MediaTypes.JsonPatch, Shift);
        Assert.Equal(200, (await SendAsync(request with { Repeated = true })).Code);
        Assert.Equal("0", (await Cluster.GetAsync("configmaps", "a"))!.At("data", "b"));
    }

    [Fact]
    public async Task MergePatch_ItsEffectIsThere_IsASuccess()
    {
        await StartAsync();
        var request = Patch(MediaTypes.MergePatch, """{"data":{"k":"v"}}""");
        var first = await SendAsync(request);
        await ForgetAsync();
        var second = await SendAsync(request with { Repeated = true });
        Assert.Equal((200, first.Revision), (second.Code, second.Revision));
    }

    [Fact]
    public async Task MergePatch_SomebodyWroteSince_IsRefusedRatherThanPutOnTop()
    {
        await StartAsync();
        var request = Patch(MediaTypes.MergePatch, """{"data":{"k":"mine"}}""");
        await SendAsync(request);
        await Cluster.PatchAsync("configmaps", "a", """{"data":{"k":"another's"} }""");
        await ForgetAsync();
        Assert.Equal(504, (await SendAsync(request with { Repeated = true })).Code);
        Assert.Equal("another's", (await Cluster.GetAsync("configmaps", "a"))!.At("data", "k"));
    }

    [Fact]
    public async Task Update_WithTheRevisionOfBefore_IsRecognisedByWhatItWrote()
    {
        await StartAsync();
        var stored = (await Cluster.GetAsync("configmaps", "a"))!;
        stored["data"] = new JsonObject { ["k"] = "v" };
        var request = Request(ObjectVerb.Update) with { Body = CanonicalJson.SerializeNode(stored) };
        var first = await SendAsync(request);
        Assert.Equal(200, first.Code);
        await ForgetAsync();
        var second = await SendAsync(request with { Repeated = true });
        Assert.Equal((200, first.Revision), (second.Code, second.Revision));
    }

    [Fact]
    public async Task Update_TrulyInConflict_IsAConflict()
    {
        await StartAsync();
        var stored = (await Cluster.GetAsync("configmaps", "a"))!;
        await Cluster.PatchAsync("configmaps", "a", """{"data":{"k":"earlier"} }""");
        stored["data"] = new JsonObject { ["k"] = "v" };
        var request = Request(ObjectVerb.Update) with { Body = CanonicalJson.SerializeNode(stored), SentAfter = await RevisionAsync(), Repeated = true };
        Assert.Equal(409, (await SendAsync(request)).Code);
    }

    [Fact]
    public async Task Delete_CarriedOutAlready_IsNotToldAsNotFound()
    {
        await StartAsync();
        var request = Request(ObjectVerb.Delete);
        Assert.Equal(200, (await SendAsync(request)).Code);
        Assert.Equal(200, (await SendAsync(request with { Repeated = true })).Code);
    }

    [Fact]
    public async Task Delete_OfWhatIsNotThere_IsUnclear_ForItsFirstCallMayYetFindIt()
    {
        await StartAsync();
        await SendAsync(Request(ObjectVerb.Delete));
        await ForgetAsync();
        var request = Request(ObjectVerb.Delete) with { SentAfter = await RevisionAsync(), Repeated = true };
        Assert.Equal(504, (await SendAsync(request)).Code);
        Assert.Equal(404, (await SendAsync(Request(ObjectVerb.Delete))).Code);
    }

    /// <summary>Another activation (or a store that lost its tail) has gone on: what is remembered here is the past, and no ground for a refusal.</summary>
    [Fact]
    public async Task Refusal_FromMemory_IsCheckedAgainstTheStore()
    {
        await StartAsync();
        var stored = (await Cluster.GetAsync("configmaps", "a"))!;
        var key = Cluster.Key("configmaps", "a");
        var now = await Cluster.Inner.GetAsync(key.Resource, key.StorageKey, TestContext.Current.CancellationToken);
        var moved = await Cluster.Inner.CommitAsync(
            new Commit { Resource = key.Resource, Key = key.StorageKey, Kind = CommitKind.Put, Value = now!.Value, ExpectedRevision = now.Revision }, TestContext.Current.CancellationToken);
        stored["metadata"]!["resourceVersion"] = $"{moved.Revision}";
        stored["data"] = new JsonObject { ["k"] = "v" };
        Assert.Equal(200, (await SendAsync(Request(ObjectVerb.Update) with { Body = CanonicalJson.SerializeNode(stored) })).Code);

        var after = await Cluster.Inner.GetAsync(key.Resource, key.StorageKey, TestContext.Current.CancellationToken);
        await Cluster.Inner.CommitAsync(
            new Commit { Resource = key.Resource, Key = key.StorageKey, Kind = CommitKind.Delete, Value = after!.Value, ExpectedRevision = after.Revision }, TestContext.Current.CancellationToken);
        var create = new ObjectRequest { Verb = ObjectVerb.Create, NewUid = Guid.NewGuid(), Body = """{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"default"} }"""u8.ToArray() };
        Assert.Equal(201, (await SendAsync(create)).Code);
    }

    [Fact]
    public async Task Create_CreatedAndDeletedSince_IsNotCreatedAgain()
    {
        await StartAsync();
        var key = Cluster.Key("configmaps", "b");
        var request = new ObjectRequest
        {
            Verb = ObjectVerb.Create,
            Body = """{"metadata":{"name":"b","namespace":"default"}}"""u8.ToArray(),
            NewUid = Guid.NewGuid(),
            RequestId = Guid.NewGuid(),
            SentAfter = await RevisionAsync(),
        };
        var grain = Cluster.Grains.GetGrain<IObjectGrain>(key.ToString());
        Assert.Equal(201, (await grain.ExecuteAsync(request, Cancellation)).Code);
        await Cluster.DeleteAsync("configmaps", "b");
        await ForgetAsync();
        Assert.Equal(201, (await grain.ExecuteAsync(request with { Repeated = true }, Cancellation)).Code);
        Assert.Null(await Cluster.GetAsync("configmaps", "b"));
    }

    private async Task StartAsync()
    {
        _cluster = await TestCluster.StartAsync();
        await _cluster.CreateAsync("configmaps", """{"metadata":{"name":"a","namespace":"default"},"data":{"a":"0"} }""");
        _sentAfter = await RevisionAsync();
    }

    private async Task<long> RevisionAsync() => (await Cluster.Caches.Get("configmaps").GetLatestAsync(Cancellation)).Revision;

    private ObjectRequest Request(ObjectVerb verb) => new() { Verb = verb, RequestId = Guid.NewGuid(), SentAfter = _sentAfter };

    private ObjectRequest Patch(string mediaType, string body) =>
        Request(ObjectVerb.Patch) with { ContentType = mediaType, Body = System.Text.Encoding.UTF8.GetBytes(body) };

    private Task<ObjectReply> SendAsync(ObjectRequest request) =>
        Cluster.Grains.GetGrain<IObjectGrain>(Cluster.Key("configmaps", "a").ToString()).ExecuteAsync(request, Cancellation);

    /// <summary>All activations go, and with them what they remember, as with their silo.</summary>
    private Task ForgetAsync() => Cluster.Grains.GetGrain<IManagementGrain>(0).ForceActivationCollection(TimeSpan.Zero);
}
