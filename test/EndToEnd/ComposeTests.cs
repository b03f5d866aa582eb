using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography.X509Certificates;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.EndToEnd;

/// <summary>
/// docker-compose.yml as people use it: Redis, two silos, two API servers behind the load balancer, two nodes and the service proxy, each in a
/// container, with the guestbook running on it. Every container is killed once.
/// </summary>
public sealed class ComposeTests
{
    private static readonly HttpClient Browser = new() { Timeout = TimeSpan.FromSeconds(5) };

    /// <summary>Service, and how long kubectl may be without an answer after its process was killed, on a busy machine too (docs/operations.md has figures).</summary>
    private static readonly IReadOnlyList<(string Service, TimeSpan Limit)> Victims =
    [
        ("redis", TimeSpan.FromSeconds(30)),
        ("silo-1", TimeSpan.FromSeconds(60)),
        ("silo-2", TimeSpan.FromSeconds(60)),
        ("api-1", TimeSpan.FromSeconds(30)),
        ("api-2", TimeSpan.FromSeconds(30)),
        ("lb", TimeSpan.FromSeconds(30)),
        ("worker-1", TimeSpan.FromSeconds(20)),
        ("worker-2", TimeSpan.FromSeconds(20)),
        ("proxy", TimeSpan.FromSeconds(20)),
    ];

    [Fact]
    public async Task The_guestbook_survives_the_death_of_every_container_and_nothing_is_left_at_the_end()
    {
        ComposeCluster cluster = await ComposeCluster.LaunchAsync();
        string id;
        try
        {
            Report($"images {cluster.BuildTime.TotalSeconds:0.0} s, up {cluster.UpTime.TotalSeconds:0.0} s");
            IReadOnlyList<string> nodes = await NodesReadyAsync(cluster);
            await cluster.Kubectl.RunAsync($"apply -f {Repository.Manifest("guestbook")}");
            IReadOnlyList<Pod> pods = await ServingAsync(cluster);
            var page = new Uri($"http://{ComposeCluster.Network}.1:30090/");
            await StreamsWorkAsync(cluster, pods);
            await PagesAnswerAsync(cluster);
            List<string> entries = [await SignAsync(page, "before")];
            IReadOnlyDictionary<string, string> containers = await StartTimesAsync(pods);

            foreach ((string service, TimeSpan limit) in Victims)
            {
                long begin = Stopwatch.GetTimestamp();
                string container = await cluster.KillAsync(service);
                await cluster.AnswersAsync($"kubectl works after the death of {service}", limit);
                TimeSpan back = Stopwatch.GetElapsedTime(begin);
                await Eventually.TrueAsync(
                    $"the engine has restarted {service}", async _ => await Docker.RunsAsync(container) && await RestartsAsync(container) > 0, limit);
                entries.Add(await SignAsync(page, service));
                string book = await Eventually.GetAsync(
                    "all entries are in the guestbook",
                    token => Browser.GetStringAsync(new Uri(page, "cgi-bin/get"), token),
                    text => entries.All(entry => text.Contains(entry, StringComparison.Ordinal)));
                Report($"{service}: kubectl after {back.TotalSeconds:0.0} s, guestbook after {Stopwatch.GetElapsedTime(begin).TotalSeconds:0.0} s");

                Assert.All(entries, entry => Assert.Contains(entry, book, StringComparison.Ordinal));
                IReadOnlyDictionary<string, string> now = await StartTimesAsync(pods);
                IReadOnlySet<string> excused = await FailedTheirOwnProbesAsync(cluster);
                Assert.All(
                    pods.Where(pod => !excused.Contains(pod.Name)).SelectMany(pod => pod.ContainerIds), one => Assert.Equal(containers[one], now[one]));
            }

            IReadOnlyList<Pod> after = await ServingAsync(cluster);
            await StreamsWorkAsync(cluster, after);
            id = (await File.ReadAllTextAsync(Path.Combine(cluster.Data, "cluster-id"), TestContext.Current.CancellationToken)).Trim();

            Assert.Equal(["worker-1", "worker-2"], nodes);
            Assert.Equal(pods.Select(pod => pod.Uid).Order(StringComparer.Ordinal), after.Select(pod => pod.Uid).Order(StringComparer.Ordinal));
            Assert.Equal(2, after.Select(pod => pod.Node).Distinct(StringComparer.Ordinal).Count());
        }
        catch
        {
            Report(await cluster.LogTailAsync());
            throw;
        }
        finally
        {
            await cluster.DisposeAsync();
        }

        Assert.Empty(await Docker.RunAsync("ps", "-aq", "--filter", $"label=com.docker.compose.project={cluster.Project}"));
        Assert.Empty(await Docker.RunAsync("network", "ls", "-q", "--filter", $"label=com.docker.compose.project={cluster.Project}"));
        Assert.Empty(await Docker.RunAsync("volume", "ls", "-q", "--filter", $"label=com.docker.compose.project={cluster.Project}"));
        Assert.Empty(await Docker.RunAsync("ps", "-aq", "--filter", $"label=orleanscluster.io/cluster={id}"));
        Assert.False(Directory.Exists(cluster.Data));
        // Another cluster on this machine would use the same tables, so infra/down leaves them to it.
        if ((await Command.RunAsync("pgrep", ["-f", "orleanscluster (dev|kubelet|proxy) "], cancellation: TestContext.Current.CancellationToken)).ExitCode == 0)
            return;
        Assert.DoesNotContain("orleanscluster", await OutputAsync("nft", "list", "tables"), StringComparison.Ordinal);
        Assert.DoesNotMatch(@"(?m)^\d+: oc", await OutputAsync("ip", "-o", "link", "show", "type", "veth"));
        Assert.DoesNotContain("10.244.", await OutputAsync("ip", "-4", "-o", "address", "show", "dev", "lo"), StringComparison.Ordinal);
    }

    private static async Task<IReadOnlyList<string>> NodesReadyAsync(ComposeCluster cluster) =>
        await Eventually.GetAsync(
            "both nodes are ready",
            async _ => (IReadOnlyList<string>)[.. (await cluster.Kubectl.RunAsync("get nodes --no-headers"))
                .Split('\n', StringSplitOptions.RemoveEmptyEntries)
                .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
                .Where(fields => fields[1] == "Ready")
                .Select(fields => fields[0])
                .Order(StringComparer.Ordinal)],
            ready => ready.Count == 2);

    private static Task<IReadOnlyList<Pod>> ServingAsync(ComposeCluster cluster) => Eventually.GetAsync(
        "the guestbook serves", _ => cluster.Kubectl.PodsAsync(), pods => pods.Count == 6 && pods.All(pod => pod.Serves), TimeSpan.FromSeconds(90));

    /// <summary>An API server, in the containers' network, reaches the node agents, in the machine's: logs and exec on both nodes.</summary>
    private static async Task StreamsWorkAsync(ComposeCluster cluster, IReadOnlyList<Pod> pods)
    {
        foreach (Pod pod in pods.GroupBy(pod => pod.Node, StringComparer.Ordinal).Select(group => group.First()))
        {
            Assert.Equal(pod.Name, (await cluster.Kubectl.RunAsync($"exec {pod.Name} -- hostname")).Trim());
            await cluster.Kubectl.RunAsync($"logs {pod.Name} --tail=1");
        }
    }

    private static async Task PagesAnswerAsync(ComposeCluster cluster)
    {
        using var handler = new SocketsHttpHandler
        {
            SslOptions = new()
            {
                CertificateChainPolicy = new X509ChainPolicy
                {
                    TrustMode = X509ChainTrustMode.CustomRootTrust,
                    CustomTrustStore = { X509CertificateLoader.LoadCertificateFromFile(Path.Combine(cluster.Data, "ca.crt")) },
                    RevocationMode = X509RevocationMode.NoCheck,
                },
            },
        };
        using var client = new HttpClient(handler);
        string html = await client.GetStringAsync(new Uri($"https://127.0.0.1:{cluster.Port}/swagger"), TestContext.Current.CancellationToken);

        client.DefaultRequestHeaders.Authorization =
            new("Bearer", (await File.ReadAllTextAsync(Path.Combine(cluster.Data, "token"), TestContext.Current.CancellationToken)).Trim());
        string dashboard = await client.GetStringAsync(new Uri($"https://127.0.0.1:{cluster.Port}/dashboard/"), TestContext.Current.CancellationToken);

        Assert.Contains("swagger", html, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("<html", dashboard, StringComparison.OrdinalIgnoreCase);
    }

    private static async Task<string> SignAsync(Uri page, string occasion)
    {
        string entry = $"{occasion}-{Guid.NewGuid():N}";
        using HttpResponseMessage answer = await Eventually.GetAsync(
            "the guestbook takes an entry",
            token => Browser.GetAsync(new Uri(page, $"cgi-bin/set?value={entry}"), token),
            reply => reply.IsSuccessStatusCode);
        return entry;
    }

    /// <summary>When each container of the pods was started: a restarted one has another time.</summary>
    private static async Task<IReadOnlyDictionary<string, string>> StartTimesAsync(IReadOnlyList<Pod> pods)
    {
        string text = await Docker.RunAsync(
            ["inspect", "-f", "{{.Id}} {{.State.Running}} {{.State.StartedAt}}", .. pods.SelectMany(pod => pod.ContainerIds)]);
        return text.Split('\n').Select(line => line.Split(' ', 2)).ToDictionary(parts => parts[0], parts => parts[1], StringComparer.Ordinal);
    }

    /// <summary>Pods that a busy machine gave too little to answer their liveness probe: those are restarted, as they should be.</summary>
    private static async Task<IReadOnlySet<string>> FailedTheirOwnProbesAsync(ComposeCluster cluster) =>
        (await cluster.Kubectl.GetAsync("events --field-selector reason=Unhealthy"))["items"]!.AsArray()
            .Where(item => ((string?)item!["message"] ?? "").StartsWith("Liveness", StringComparison.Ordinal))
            .Select(item => (string)item!["involvedObject"]!["name"]!)
            .ToHashSet(StringComparer.Ordinal);

    private static async Task<int> RestartsAsync(string container) =>
        int.Parse(await Docker.RunAsync("inspect", "-f", "{{.RestartCount}}", container), CultureInfo.InvariantCulture);

    private static async Task<string> OutputAsync(string program, params string[] arguments) =>
        (await Command.RunAsync(program, arguments, cancellation: TestContext.Current.CancellationToken)).OrFail().Output;

    private static void Report(string line) => TestContext.Current.TestOutputHelper?.WriteLine(line);
}
