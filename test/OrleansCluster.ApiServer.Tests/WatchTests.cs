using System.Net;
using System.Text.Json.Nodes;

namespace OrleansCluster.ApiServer.Tests;

public sealed class WatchTests(TestCluster cluster) : KubernetesTest(cluster)
{
    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task Watch_from_a_list_sees_every_change_once_and_in_order(string version)
    {
        var ns = await NewNamespaceAsync();
        var list = await GetAsync($"/api/v1/namespaces/{ns}/secrets");
        var revision = (string)list.Json["metadata"]!["resourceVersion"]!;
        var client = Cluster.Client(Cluster.AdminToken, new Version(version));
        await using var watch = await OpenAsync(client, $"/api/v1/namespaces/{ns}/secrets?watch=true&resourceVersion={revision}");
        await CreateSecretAsync(ns, "a");
        await PatchAsync(ns, "a", """{"stringData":{"x":"1"}}""");
        await SendAsync(Admin, HttpMethod.Delete, $"/api/v1/namespaces/{ns}/secrets/a");

        var events = await watch.TakeAsync(3);
        Assert.Equal(["ADDED", "MODIFIED", "DELETED"], events.Select(e => e.Type));
        var revisions = events.Select(e => long.Parse((string)e.Object["metadata"]!["resourceVersion"]!)).ToArray();
        Assert.Equal(revisions.Order(), revisions);
        Assert.Equal(3, revisions.Distinct().Count());
        Assert.Equal("Secret", (string)events[0].Object["kind"]!);
    }

    [Fact]
    public async Task Watch_without_a_revision_begins_with_what_is_there()
    {
        var ns = await NewNamespaceAsync();
        await CreateSecretAsync(ns, "a");
        await using var watch = await OpenAsync(Admin, $"/api/v1/namespaces/{ns}/secrets?watch=1");
        await CreateSecretAsync(ns, "b");
        Assert.Equal([("ADDED", "a"), ("ADDED", "b")], (await watch.TakeAsync(2)).Select(e => (e.Type, e.Name)));
    }

    [Fact]
    public async Task Watch_with_a_selector_turns_entering_and_leaving_into_added_and_deleted()
    {
        var ns = await NewNamespaceAsync();
        await CreateSecretAsync(ns, "a");
        var revision = (string)(await GetAsync($"/api/v1/namespaces/{ns}/secrets")).Json["metadata"]!["resourceVersion"]!;
        await using var watch = await OpenAsync(Admin, $"/api/v1/namespaces/{ns}/secrets?watch=true&resourceVersion={revision}&labelSelector=in%3Dyes");
        await PatchAsync(ns, "a", """{"metadata":{"labels":{"in":"yes"}}}""");
        await PatchAsync(ns, "a", """{"metadata":{"labels":{"other":"1"}}}""");
        var leaving = await PatchAsync(ns, "a", """{"metadata":{"labels":{"in":"no"}}}""");
        await PatchAsync(ns, "a", """{"metadata":{"labels":{"other":"2"}}}""");
        await PatchAsync(ns, "a", """{"metadata":{"labels":{"in":"yes"}}}""");
        var events = await watch.TakeAsync(4);
        Assert.Equal(["ADDED", "MODIFIED", "DELETED", "ADDED"], events.Select(e => e.Type));
        // The leaving object is the last one that matched, with the revision at which it left.
        Assert.Equal("yes", (string)events[2].Object["metadata"]!["labels"]!["in"]!);
        Assert.Equal((string)leaving.Json["metadata"]!["resourceVersion"]!, (string)events[2].Object["metadata"]!["resourceVersion"]!);
    }

    [Fact]
    public async Task Watch_of_one_name_sees_only_that_object()
    {
        var ns = await NewNamespaceAsync();
        await using var watch = await OpenAsync(Admin, $"/api/v1/namespaces/{ns}/secrets?watch=true&fieldSelector=metadata.name%3Db");
        await CreateSecretAsync(ns, "a");
        await CreateSecretAsync(ns, "b");
        Assert.Equal(("ADDED", "b"), (await watch.TakeAsync(1)).Select(e => (e.Type, e.Name)).Single());
    }

    [Fact]
    public async Task Watch_ends_cleanly_at_its_timeout_with_a_bookmark_of_all_it_has_sent()
    {
        var ns = await NewNamespaceAsync();
        await using var watch = await OpenAsync(Admin, $"/api/v1/namespaces/{ns}/secrets?watch=true&allowWatchBookmarks=true&timeoutSeconds=1");
        var created = await CreateSecretAsync(ns, "a");
        var events = await watch.ToEndAsync();
        Assert.Equal("ADDED", events[0].Type);
        var bookmark = events[^1];
        Assert.Equal("BOOKMARK", bookmark.Type);
        Assert.Equal("Secret", (string)bookmark.Object["kind"]!);
        var revision = long.Parse((string)created.Json["metadata"]!["resourceVersion"]!);
        Assert.True(long.Parse((string)bookmark.Object["metadata"]!["resourceVersion"]!) >= revision);
    }

    [Fact]
    public async Task Initial_events_end_with_the_annotated_bookmark()
    {
        var ns = await NewNamespaceAsync();
        await CreateSecretAsync(ns, "a");
        await using var watch = await OpenAsync(Admin,
            $"/api/v1/namespaces/{ns}/secrets?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
        var events = await watch.TakeAsync(2);
        Assert.Equal(["ADDED", "BOOKMARK"], events.Select(e => e.Type));
        Assert.Equal("true", (string)events[1].Object["metadata"]!["annotations"]!["k8s.io/initial-events-end"]!);
    }

    [Fact]
    public async Task Watch_of_tables_sends_columns_once_and_stays_one_line_per_event()
    {
        var ns = await NewNamespaceAsync();
        await CreateSecretAsync(ns, "a");
        await CreateSecretAsync(ns, "b");
        await using var watch = await OpenAsync(Admin, $"/api/v1/namespaces/{ns}/secrets?watch=true", "application/json;as=Table;v=v1;g=meta.k8s.io");
        var events = await watch.TakeAsync(2);
        Assert.All(events, e => Assert.Equal("Table", (string)e.Object["kind"]!));
        Assert.NotNull(events[0].Object["columnDefinitions"]);
        Assert.Null(events[1].Object["columnDefinitions"]);
        Assert.Equal("b", (string)events[1].Object["rows"]![0]!["cells"]![0]!);
    }

    [Fact]
    public async Task Watch_of_a_single_path_and_the_deprecated_prefix_are_watches_too()
    {
        var ns = await NewNamespaceAsync();
        await CreateSecretAsync(ns, "a");
        await using var single = await OpenAsync(Admin, $"/api/v1/namespaces/{ns}/secrets/a?watch=true");
        Assert.Equal("a", (await single.TakeAsync(1))[0].Name);
        await using var old = await OpenAsync(Admin, $"/api/v1/watch/namespaces/{ns}/secrets");
        Assert.Equal("a", (await old.TakeAsync(1))[0].Name);
    }

    [Fact]
    public async Task Many_watchers_of_one_connection_all_see_a_change()
    {
        var ns = await NewNamespaceAsync();
        var client = Cluster.Client(Cluster.AdminToken);
        var watches = new List<Watch>();
        for (var i = 0; i < 150; i++)
            watches.Add(await OpenAsync(client, $"/api/v1/namespaces/{ns}/secrets?watch=true"));
        await CreateSecretAsync(ns, "a");
        foreach (var watch in watches)
        {
            Assert.Equal("a", (await watch.TakeAsync(1))[0].Name);
            await watch.DisposeAsync();
        }
    }

    [Fact]
    public async Task A_stopping_server_ends_its_watches_whole_and_does_not_wait_for_them()
    {
        var other = new TestCluster();
        await other.InitializeAsync();
        try
        {
            await using var watch = await OpenAsync(other.Admin, "/api/v1/namespaces?watch=true");
            await watch.TakeAsync(4);
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(5));
            await other.StopAsync(limit.Token);
            Assert.False(limit.IsCancellationRequested);
            // An aborted stream would throw here.
            await watch.ToEndAsync();
        }
        finally
        {
            await other.DisposeAsync();
        }
    }

    private Task<Answer> CreateSecretAsync(string ns, string name) =>
        SendAsync(Admin, HttpMethod.Post, $"/api/v1/namespaces/{ns}/secrets", $$"""{"metadata":{"name":"{{name}}"} }""");

    private Task<Answer> PatchAsync(string ns, string name, string patch) =>
        SendAsync(Admin, HttpMethod.Patch, $"/api/v1/namespaces/{ns}/secrets/{name}", patch, "application/merge-patch+json");

    private static async Task<Watch> OpenAsync(HttpClient client, string path, string? accept = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, path) { Version = client.DefaultRequestVersion, VersionPolicy = client.DefaultVersionPolicy };
        if (accept is not null)
            request.Headers.TryAddWithoutValidation("Accept", accept);
        var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Token);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return new Watch(response, new StreamReader(await response.Content.ReadAsStreamAsync(Token)));
    }

    private sealed record WatchEvent(string Type, JsonNode Object)
    {
        public string Name => (string)Object["metadata"]!["name"]!;
    }

    private sealed class Watch(HttpResponseMessage response, StreamReader reader) : IAsyncDisposable
    {
        private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

        public async Task<List<WatchEvent>> TakeAsync(int count)
        {
            var events = new List<WatchEvent>();
            while (events.Count < count)
            {
                var line = await reader.ReadLineAsync(Token).AsTask().WaitAsync(Patience, Token);
                Assert.True(line is not null, $"the watch ended after {events.Count} of {count} events");
                events.Add(Parse(line));
            }
            return events;
        }

        public async Task<List<WatchEvent>> ToEndAsync()
        {
            var events = new List<WatchEvent>();
            while (await reader.ReadLineAsync(Token).AsTask().WaitAsync(Patience, Token) is { } line)
                events.Add(Parse(line));
            return events;
        }

        public ValueTask DisposeAsync()
        {
            reader.Dispose();
            response.Dispose();
            return ValueTask.CompletedTask;
        }

        private static WatchEvent Parse(string line)
        {
            var json = JsonNode.Parse(line)!;
            return new WatchEvent((string)json["type"]!, json["object"]!);
        }
    }
}
