using System.Text;

namespace OrleansCluster.Client.Tests;

/// <summary>What a watch tells when its place in the history is gone, when calls fail, and when pages overlap.</summary>
public sealed class ResourceFollowerTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ReadAsync_HistoryGone_TellsTheDifference()
    {
        var reader = new ScriptedReader();
        reader.Lists.Enqueue(Page(10, Object("same", 1), Object("changed", 2), Object("gone", 3)));
        reader.Changes.Enqueue(() => new ChangePage { Revision = 10, Changes = [], Expired = true });
        reader.Lists.Enqueue(Page(90, Object("same", 1), Object("changed", 80), Object("new", 85)));
        var follower = new ResourceFollower(reader, new ListQuery(), TimeProvider.System);

        Assert.Equal(["Added same", "Added changed", "Added gone"], await ReadAsync(follower));
        Assert.Equal(["Deleted gone", "Modified changed", "Added new"], await ReadAsync(follower));
        reader.Changes.Enqueue(() => new ChangePage { Revision = 91, Changes = [Change("DELETED", Object("new", 91))] });
        Assert.Equal(["Deleted new"], await ReadAsync(follower));
        Assert.Equal([10L, 90L], reader.Asked);
    }

    [Fact]
    public async Task ReadAsync_CallsFail_GoesOnFromTheSameRevision()
    {
        var reader = new ScriptedReader();
        reader.Lists.Enqueue(Page(5, Object("a", 5)));
        reader.Changes.Enqueue(() => throw new TimeoutException());
        reader.Changes.Enqueue(() => throw new Orleans.Runtime.SiloUnavailableException());
        reader.Changes.Enqueue(() => new ChangePage { Revision = 6, Changes = [Change("MODIFIED", Object("a", 6))] });
        var follower = new ResourceFollower(reader, new ListQuery(), TimeProvider.System);

        await ReadAsync(follower);
        Assert.Equal(["Modified a"], await ReadAsync(follower));
        Assert.Equal([5L, 5L, 5L], reader.Asked);
    }

    [Fact]
    public async Task ReadAsync_ChangeAlreadySeenInALaterPage_IsModifiedNotAddedTwice()
    {
        var reader = new ScriptedReader();
        reader.Lists.Enqueue(Page(5, Object("a", 5)) with { Next = "a" });
        reader.Lists.Enqueue(Page(7, Object("b", 6)));
        reader.Changes.Enqueue(() => new ChangePage { Revision = 6, Changes = [Change("ADDED", Object("b", 6))] });
        var follower = new ResourceFollower(reader, new ListQuery(), TimeProvider.System);

        Assert.Equal(["Added a", "Added b"], await ReadAsync(follower));
        Assert.Equal(["Modified b"], await ReadAsync(follower));
        Assert.Equal([5L], reader.Asked);
    }

    private static async Task<IEnumerable<string>> ReadAsync(ResourceFollower follower) =>
        (await follower.ReadAsync(Cancellation)).Select(c => $"{c.Type} {(string?)System.Text.Json.Nodes.JsonNode.Parse(c.Object)!["metadata"]!["name"]}");

    private static ObjectPage Page(long revision, params byte[][] objects) => new() { Revision = revision, Objects = objects };

    private static ObjectChange Change(string type, byte[] obj) => new() { Type = type, Object = obj };

    private static byte[] Object(string name, long revision) => Encoding.UTF8.GetBytes(
        $$$"""{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"{{{name}}}","labels":{"uid":"no"},"uid":"uid-{{{name}}}","resourceVersion":"{{{revision}}}"},"data":{"uid":"no"}}""");

    /// <summary>A reader grain that answers what the test says; an unexpected question fails the test.</summary>
    private sealed class ScriptedReader : IResourceReaderGrain
    {
        public Queue<ObjectPage> Lists { get; } = new();

        public Queue<Func<ChangePage>> Changes { get; } = new();

        public List<long> Asked { get; } = [];

        public Task<byte[]?> GetAsync(string @namespace, string name, CancellationToken cancellationToken) => throw new NotSupportedException();

        public Task<ObjectPage> ListAsync(ListQuery query, CancellationToken cancellationToken) => Task.FromResult(Lists.Dequeue());

        public Task<ChangePage> ReadChangesAsync(ListQuery query, long afterRevision, TimeSpan wait, CancellationToken cancellationToken)
        {
            Asked.Add(afterRevision);
            try
            {
                return Task.FromResult(Changes.Dequeue()());
            }
            catch (Exception error)
            {
                return Task.FromException<ChangePage>(error);
            }
        }
    }
}
