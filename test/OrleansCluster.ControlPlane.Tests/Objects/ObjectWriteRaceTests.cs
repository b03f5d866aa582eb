using System.Text;
using System.Text.Json.Nodes;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Tests.Harness;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Tests.Objects;

/// <summary>The single writer of an object, also when the store, a rival or the caller does not play along.</summary>
public sealed class ObjectWriteRaceTests(ObjectWriteRaceTests.Fixture fixture) : IClassFixture<ObjectWriteRaceTests.Fixture>
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Patches_at_the_same_time_all_land()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("configmaps", ConfigMap("c"));
        await Task.WhenAll(Enumerable.Range(0, 100).Select(i => space.PatchAsync("configmaps", "c", $$"""{"data":{"k{{i}}":"{{i}}"} }""")));
        var data = (JsonObject)(await space.GetAsync("configmaps", "c"))!["data"]!;
        Assert.Equal(Enumerable.Range(0, 100).Select(i => $"k{i}={i}").Order(), data.Select(p => $"{p.Key}={p.Value}").Order());
    }

    [Fact]
    public async Task Creates_of_one_name_at_the_same_time_succeed_once()
    {
        var space = await fixture.Shared.SpaceAsync();
        var replies = await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => CreateReplyAsync(space, "one")));
        Assert.Equal(201, Assert.Single(replies, r => r.IsSuccess).Code);
        Assert.All(replies.Where(r => !r.IsSuccess), r => Assert.Equal((409, "AlreadyExists"), (r.Code, r.GetError()!.Reason)));
    }

    [Fact]
    public async Task An_update_of_an_old_revision_conflicts()
    {
        var space = await fixture.Shared.SpaceAsync();
        var old = await space.CreateAsync("configmaps", ConfigMap("c"));
        await space.PatchAsync("configmaps", "c", """{"data":{"a":"1"}}""");
        var error = await Assert.ThrowsAsync<StatusException>(() => fixture.Shared.Cluster.Client.UpdateAsync(space.Key("configmaps", "c"), old, Cancellation));
        Assert.Equal((409, "Conflict"), (error.Status.Code, error.Status.Reason));
        Assert.Contains("the object has been modified; please apply your changes to the latest version and try again", error.Message, StringComparison.Ordinal);
        Assert.Equal("1", (await space.GetAsync("configmaps", "c")).At("data", "a"));
    }

    [Fact]
    public async Task What_a_rival_has_committed_is_built_upon()
    {
        // As a second activation would, behind the back of the first.
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("configmaps", ConfigMap("c"));
        var key = space.Key("configmaps", "c");
        var stored = (await fixture.Shared.Cluster.Inner.GetAsync(key.Resource, key.StorageKey, Cancellation))!;
        var other = CanonicalJson.Parse(stored.Value);
        other["data"] = new JsonObject { ["rival"] = "1" };
        var commit = new Commit { Resource = key.Resource, Key = key.StorageKey, Value = CanonicalJson.Serialize(other), ExpectedRevision = stored.Revision };
        Assert.Equal(CommitOutcome.Committed, (await fixture.Shared.Cluster.Inner.CommitAsync([commit], Cancellation))[0].Outcome);

        await space.PatchAsync("configmaps", "c", """{"data":{"own":"1"}}""");
        var data = (await space.GetAsync("configmaps", "c"))!["data"]!;
        Assert.Equal(("1", "1"), (data.At("rival"), data.At("own")));
    }

    [Theory]
    [InlineData("create")]
    [InlineData("update")]
    [InlineData("append")]
    [InlineData("delete")]
    public async Task A_write_whose_answer_is_lost_is_done_once(string verb)
    {
        var space = await fixture.Shared.SpaceAsync();
        JsonObject? before = null;
        if (verb != "create")
            before = await space.CreateAsync("configmaps", """{"metadata":{"name":"c","finalizers":[]},"data":{"a":"0"}}""");
        if (verb == "append")
            await space.PatchAsync("configmaps", "c", """{"metadata":{"finalizers":["example.com/first"]}}""");
        var lost = 0;
        using (fixture.After(space, () => Interlocked.Increment(ref lost) == 1 ? new StoreUnavailableException("the answer is lost") : null))
        {
            switch (verb)
            {
                case "create":
                    Assert.Equal("c", (await space.CreateAsync("configmaps", ConfigMap("c"))).At("metadata", "name"));
                    break;
                case "update":
                    before!["data"] = new JsonObject { ["a"] = "1" };
                    Assert.Equal("1", (await fixture.Shared.Cluster.Client.UpdateAsync(space.Key("configmaps", "c"), before, Cancellation)).At("data", "a"));
                    break;
                case "append":
                    var reply = await fixture.Shared.Cluster.ExecuteAsync(space.Key("configmaps", "c"), new ObjectRequest
                    {
                        Verb = ObjectVerb.Patch,
                        ContentType = MediaTypes.JsonPatch,
                        Body = Encoding.UTF8.GetBytes("""[{"op":"add","path":"/data/a","value":"2"},{"op":"test","path":"/metadata/finalizers","value":["example.com/first"]},{"op":"add","path":"/metadata/finalizers/-","value":"example.com/second"}]"""),
                    });
                    Assert.Equal(200, reply.Code);
                    break;
                default:
                    Assert.True(await space.DeleteAsync("configmaps", "c"));
                    break;
            }
        }
        Assert.Equal(1, lost); // The grain looked, and did not write again.
        var after = await space.GetAsync("configmaps", "c");
        if (verb == "delete")
            Assert.Null(after);
        else if (verb == "append")
            Assert.Equal("""["example.com/first","example.com/second"]""", after!["metadata"]!["finalizers"]!.ToJsonString());
        else
            Assert.NotNull(after);
    }

    [Fact]
    public async Task A_store_that_does_not_answer_at_all_is_an_error_and_the_object_recovers()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("configmaps", ConfigMap("c"));
        using (fixture.Before(space, () => new StoreUnavailableException("away")))
        {
            var error = await Assert.ThrowsAsync<StatusException>(() => space.PatchAsync("configmaps", "c", """{"data":{"a":"1"}}"""));
            Assert.Equal((504, "Timeout"), (error.Status.Code, error.Status.Reason));
        }
        Assert.Null((await space.GetAsync("configmaps", "c")).At("data", "a"));
        await space.PatchAsync("configmaps", "c", """{"data":{"a":"2"}}""");
        Assert.Equal("2", (await space.GetAsync("configmaps", "c")).At("data", "a"));
    }

    [Fact]
    public async Task A_create_whose_caller_gave_up_is_recognised_when_it_is_repeated()
    {
        var space = await fixture.Shared.SpaceAsync();
        var uid = Guid.NewGuid();
        var first = 0;
        using (fixture.After(space, () => Interlocked.Increment(ref first) == 1 ? new OperationCanceledException("the caller has gone") : null))
        {
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => CreateReplyAsync(space, "c", uid));
            Assert.Equal(201, (await CreateReplyAsync(space, "c", uid)).Code);
            Assert.Equal(409, (await CreateReplyAsync(space, "c", Guid.NewGuid())).Code);
        }
    }

    [Fact]
    public async Task Reads_meet_a_pending_commit_with_the_last_committed_state()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("configmaps", """{"metadata":{"name":"c"},"data":{"a":"old"}}""");
        var grain = fixture.Shared.Cluster.Grains.GetGrain<IObjectGrain>(space.Key("configmaps", "c").ToString());
        var reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var let = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task write;
        using (fixture.Hold(space, reached, let.Task))
        {
            write = space.PatchAsync("configmaps", "c", """{"data":{"a":"new"}}""");
            await reached.Task.WaitAsync(Cancellation);
            Assert.Equal("old", CanonicalJson.Parse((await grain.GetAsync(Cancellation)).Object).At("data", "a"));
            Assert.False(write.IsCompleted);
            let.SetResult();
            await write;
        }
        Assert.Equal("new", CanonicalJson.Parse((await grain.GetAsync(Cancellation)).Object).At("data", "a"));
    }

    [Fact]
    public async Task Generated_names_that_are_taken_are_chosen_anew()
    {
        var space = await fixture.Shared.SpaceAsync();
        var names = new HashSet<string>();
        for (var i = 0; i < 3; i++)
        {
            // The same source: the first names of each have been taken by the ones before.
            var writer = new ObjectWriter(fixture.Shared.Cluster.Grains, TimeProvider.System, UserInfo.ControlPlane, new SameNames());
            var reply = await writer.CreateAsync(
                fixture.Shared.Cluster.Registry.Get("configmaps"), (JsonObject)JsonNode.Parse($$"""{"metadata":{"generateName":"g-","namespace":"{{space.Name}}"} }""")!, Cancellation);
            Assert.True(names.Add(CanonicalJson.Parse(reply.Object).At("metadata", "name")!));
        }
        Assert.Equal(names.Order(), (await space.ListAsync("configmaps")).Of().Order());
    }

    [Fact]
    public async Task A_finalizer_holds_an_object_until_it_is_taken_off()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("configmaps", """{"metadata":{"name":"c","finalizers":["example.com/hold"]}}""");
        Assert.True(await space.DeleteAsync("configmaps", "c"));
        var marked = await space.GetAsync("configmaps", "c");
        Assert.True(marked.IsDeleting());
        Assert.True(await space.DeleteAsync("configmaps", "c"));
        Assert.Equal(marked.At("metadata", "deletionTimestamp"), (await space.GetAsync("configmaps", "c")).At("metadata", "deletionTimestamp"));
        var refused = await Assert.ThrowsAsync<StatusException>(() => space.PatchAsync("configmaps", "c", """{"metadata":{"finalizers":["example.com/hold","example.com/more"]}}"""));
        Assert.Equal(422, refused.Status.Code);
        await space.PatchAsync("configmaps", "c", """{"metadata":{"finalizers":null}}""");
        Assert.Null(await space.GetAsync("configmaps", "c"));
    }

    [Fact]
    public async Task A_bound_pod_gets_its_grace_which_may_be_shortened_but_not_extended()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.PodAsync("p", node: "n1");
        await space.DeleteAsync("pods", "p");
        Assert.Equal("30", (await space.GetAsync("pods", "p")).At("metadata", "deletionGracePeriodSeconds"));
        await space.DeleteAsync("pods", "p", new DeleteOptions(GracePeriodSeconds: 60));
        Assert.Equal("30", (await space.GetAsync("pods", "p")).At("metadata", "deletionGracePeriodSeconds"));
        await space.DeleteAsync("pods", "p", new DeleteOptions(GracePeriodSeconds: 5));
        Assert.Equal("5", (await space.GetAsync("pods", "p")).At("metadata", "deletionGracePeriodSeconds"));
        await space.DeleteAsync("pods", "p", new DeleteOptions(GracePeriodSeconds: 0));
        Assert.Null(await space.GetAsync("pods", "p"));
    }

    [Fact]
    public async Task A_finalizer_outlasts_the_grace_of_a_pod()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.PodAsync("p", node: "n1", metadata: ",\"finalizers\":[\"example.com/hold\"]");
        await space.DeleteAsync("pods", "p", new DeleteOptions(GracePeriodSeconds: 0));
        Assert.True((await space.GetAsync("pods", "p")).IsDeleting());
        await space.PatchAsync("pods", "p", """{"metadata":{"finalizers":null}}""");
        Assert.Null(await space.GetAsync("pods", "p"));
    }

    [Fact]
    public async Task A_deletion_for_another_uid_or_revision_is_refused()
    {
        var space = await fixture.Shared.SpaceAsync();
        await space.CreateAsync("configmaps", ConfigMap("c"));
        foreach (var options in (DeleteOptions[])[new(PreconditionUid: Guid.NewGuid().ToString()), new(PreconditionResourceVersion: "999999")])
            Assert.Equal(409, (await Assert.ThrowsAsync<StatusException>(() => space.DeleteAsync("configmaps", "c", options))).Status.Code);
        Assert.NotNull(await space.GetAsync("configmaps", "c"));
    }

    private static string ConfigMap(string name) => $$"""{"metadata":{"name":"{{name}}"} }""";

    private Task<ObjectReply> CreateReplyAsync(Space space, string name, Guid? uid = null) => fixture.Shared.Cluster.ExecuteAsync(
        space.Key("configmaps", name),
        new ObjectRequest { Verb = ObjectVerb.Create, NewUid = uid ?? Guid.NewGuid(), Body = Encoding.UTF8.GetBytes($$"""{"metadata":{"name":"{{name}}","namespace":"{{space.Name}}"} }""") });

    /// <summary>Chooses the same names every time, and other uids.</summary>
    private sealed class SameNames() : Random(5)
    {
        public override void NextBytes(Span<byte> buffer) => Shared.NextBytes(buffer);
    }

    /// <summary>One silo without controllers, whose store can be made to fail for one namespace.</summary>
    public sealed class Fixture : IAsyncLifetime
    {
        private Func<IReadOnlyList<Commit>, Task>? _before;
        private Func<IReadOnlyList<Commit>, Task>? _after;

        internal Shared Shared { get; private set; } = null!;

        public async ValueTask InitializeAsync()
        {
            Shared = new Shared(new TestClusterOptions { Store = inner => StoreProxy.Around(inner, CommitAsync) });
            await Shared.InitializeAsync();
        }

        public ValueTask DisposeAsync() => Shared.DisposeAsync();

        internal IDisposable After(Space space, Func<Exception?> error) => Fail(space, error, after: true);

        internal IDisposable Before(Space space, Func<Exception?> error) => Fail(space, error, after: false);

        internal IDisposable Hold(Space space, TaskCompletionSource reached, Task let)
        {
            _before = async commits =>
            {
                if (!Concerns(commits, space))
                    return;
                reached.TrySetResult();
                await let;
            };
            return new Undo(this);
        }

        private Undo Fail(Space space, Func<Exception?> error, bool after)
        {
            Task Hook(IReadOnlyList<Commit> commits) => Concerns(commits, space) && error() is { } thrown ? Task.FromException(thrown) : Task.CompletedTask;
            if (after)
                _after = Hook;
            else
                _before = Hook;
            return new Undo(this);
        }

        private static bool Concerns(IReadOnlyList<Commit> commits, Space space) =>
            commits.Any(c => c.Key.StartsWith(space.Name + "/", StringComparison.Ordinal));

        private async ValueTask<IReadOnlyList<CommitResult>> CommitAsync(IReadOnlyList<Commit> commits, Func<ValueTask<IReadOnlyList<CommitResult>>> commit)
        {
            if (_before is { } before)
                await before(commits);
            var results = await commit();
            if (_after is { } after)
                await after(commits);
            return results;
        }

        private sealed class Undo(Fixture fixture) : IDisposable
        {
            public void Dispose() => fixture._before = fixture._after = null;
        }
    }
}
