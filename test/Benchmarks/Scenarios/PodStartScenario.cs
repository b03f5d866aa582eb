using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;

namespace OrleansCluster.Benchmarks.Scenarios;

/// <summary>From a pod's creation until it is seen Running, on Docker, against `docker run` of the same image in the same run.</summary>
internal sealed class PodStartScenario : IScenario
{
    private const int Repeats = 10;
    private const string Image = "busybox:1.36";

    public string Name => "pod-start";

    public string Description => "pod created to Running on Docker, against bare docker run in the same run (needs Docker and busybox:1.36)";

    public async Task RunAsync(BenchmarkContext context)
    {
        await DockerAsync(["image", "inspect", Image], context.Cancellation);
        await using var server = await context.StartServerAsync("--runtime", "docker", "--nodes", "1", "--no-proxy");
        using var client = context.Connect(server);
        await WaitForNodeAsync(context, client);
        var pods = new List<double>();
        var bare = new List<double>();
        // The first of each is not counted: it compiles code and warms the engine.
        for (var i = 0; i <= Repeats; i++)
        {
            var pod = await PodAsync(context, client, $"start-{i}");
            var container = await BareAsync(context, $"orleanscluster-bench-{Environment.ProcessId}-{i}");
            if (i == 0)
                continue;
            pods.Add(pod);
            bare.Add(container);
        }
        var peer = Median(bare);
        context.Report.Add("docker-run", peer, "ms", null, ("image", Image), ("repeats", Repeats));
        context.Report.Add("pod-running", Median(pods), "ms", null, ("image", Image), ("repeats", Repeats));
        context.Report.Add("overhead", Median(pods) - peer, "ms", null, ("image", Image), ("pod", "pause + app; docker run is one container on Docker's bridge"));
    }

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    private static async Task WaitForNodeAsync(BenchmarkContext context, LoadClient client)
    {
        while (true)
        {
            var nodes = JsonNode.Parse(await client.SendAsync(HttpMethod.Get, "/api/v1/nodes", null, context.Cancellation))!["items"]!.AsArray();
            if (nodes.Any(n => n!["status"]?["conditions"]?.AsArray().Any(c => (string?)c!["type"] == "Ready" && (string?)c["status"] == "True") == true
                && n["spec"]?["taints"] is null))
            {
                return;
            }
            await Task.Delay(50, context.Cancellation);
        }
    }

    private static async Task<double> PodAsync(BenchmarkContext context, LoadClient client, string name)
    {
        var body = Encoding.UTF8.GetBytes(
            $$$"""{"apiVersion":"v1","kind":"Pod","metadata":{"name":"{{{name}}}"},"spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"app","image":"{{{Image}}}","command":["sleep","1000"]}]}}""");
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(context.Cancellation);
        limit.CancelAfter(TimeSpan.FromSeconds(60));
        using var response = await client.StreamAsync($"/api/v1/namespaces/default/pods?watch=true&fieldSelector=metadata.name%3D{name}", limit.Token);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(limit.Token));
        var begin = Stopwatch.GetTimestamp();
        await client.SendAsync(HttpMethod.Post, "/api/v1/namespaces/default/pods", body, limit.Token);
        while (await reader.ReadLineAsync(limit.Token) is { } line)
        {
            if ((string?)JsonNode.Parse(line)!["object"]?["status"]?["phase"] == "Running")
                break;
        }
        var elapsed = Stopwatch.GetElapsedTime(begin).TotalMilliseconds;
        await client.SendAsync(HttpMethod.Delete, $"/api/v1/namespaces/default/pods/{name}", null, limit.Token);
        while (await reader.ReadLineAsync(limit.Token) is { } line && !line.Contains("\"DELETED\"", StringComparison.Ordinal))
        {
            // Its end must not run into the next one's start.
        }
        return elapsed;
    }

    private static async Task<double> BareAsync(BenchmarkContext context, string name)
    {
        var begin = Stopwatch.GetTimestamp();
        await DockerAsync(["run", "--detach", "--name", name, Image, "sleep", "1000"], context.Cancellation);
        var elapsed = Stopwatch.GetElapsedTime(begin).TotalMilliseconds;
        await DockerAsync(["rm", "--force", name], context.Cancellation);
        return elapsed;
    }

    private static async Task DockerAsync(string[] arguments, CancellationToken cancellationToken)
    {
        using var docker = Process.Start(new ProcessStartInfo("docker", arguments) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true })!;
        var output = docker.StandardOutput.ReadToEndAsync(cancellationToken);
        var error = await docker.StandardError.ReadToEndAsync(cancellationToken);
        await output;
        await docker.WaitForExitAsync(cancellationToken);
        if (docker.ExitCode != 0)
            throw new InvalidOperationException($"docker {string.Join(' ', arguments)}: {error}");
    }
}
