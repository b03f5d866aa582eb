namespace OrleansCluster.ApiServer.Tests;

/// <summary>Connections beyond what the server may hold are closed at once, and those that go make room.</summary>
public sealed class ConnectionLimitTests
{
    private const int Limit = 3;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_connection_beyond_the_limit_is_refused_and_a_client_is_served_when_another_has_gone()
    {
        var cluster = new TestCluster { MaxConnections = Limit };
        await cluster.InitializeAsync();
        var watches = new List<HttpResponseMessage>();
        try
        {
            // Every client has a connection of its own, and its watch keeps it open; the administrator's may take a place as well.
            while (watches.Count <= Limit && await WatchAsync(cluster) is { } watch)
                watches.Add(watch);
            Assert.InRange(watches.Count, Limit - 1, Limit);

            foreach (var watch in watches)
                watch.Dispose();
            cluster.Admin.Dispose();
            // The server notices in its own time that they have gone.
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(Token);
            limit.CancelAfter(TimeSpan.FromSeconds(30));
            HttpResponseMessage? again = null;
            while (again is null)
            {
                limit.Token.ThrowIfCancellationRequested();
                again = await WatchAsync(cluster);
            }
            again.Dispose();
        }
        finally
        {
            await cluster.DisposeAsync();
        }
    }

    /// <summary>A watch on a connection of its own; null if the server does not take the connection.</summary>
    private static async Task<HttpResponseMessage?> WatchAsync(TestCluster cluster)
    {
        try
        {
            var answer = await cluster.Client(cluster.AdminToken, System.Net.HttpVersion.Version11).GetAsync(
                new Uri("/api/v1/namespaces?watch=true", UriKind.Relative), HttpCompletionOption.ResponseHeadersRead, Token);
            return answer.EnsureSuccessStatusCode();
        }
        catch (HttpRequestException refused) when (refused.StatusCode is null)
        {
            return null;
        }
    }
}
