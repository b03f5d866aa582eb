using System.Diagnostics;
using System.Text.Json.Nodes;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.EndToEnd;

/// <summary>A cluster with the guestbook applied and serving.</summary>
public sealed class GuestbookCluster : ClusterFixture
{
    private protected override ClusterOptions Options => new();

    private protected override async Task PrepareAsync()
    {
        await Cluster.Kubectl.RunAsync($"apply -f {Repository.Manifest("guestbook")}");
        await Cluster.EventuallyPodsAsync("the guestbook serves", "", pods => pods.Count(pod => pod.Serves) == 6);
    }
}

/// <summary>The main job, as a person does it: the guestbook on real containers, and everything kubectl offers on it.</summary>
public sealed class GuestbookTests(GuestbookCluster fixture) : ClusterTests(fixture), IClassFixture<GuestbookCluster>
{
    private static readonly HttpClient Browser = new() { Timeout = TimeSpan.FromSeconds(5) };

    [Fact]
    public async Task Every_pod_has_an_address_of_its_own_and_get_wide_shows_it()
    {
        IReadOnlyList<Pod> pods = await Kubectl.PodsAsync();
        string table = await Kubectl.RunAsync("get pods -o wide");

        Assert.Equal(pods.Count, pods.Select(pod => pod.Ip).Distinct(StringComparer.Ordinal).Count());
        Assert.StartsWith("NAME", table, StringComparison.Ordinal);
        Assert.All(["READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"], column => Assert.Contains(column, table, StringComparison.Ordinal));
        Assert.All(pods, pod => Assert.Contains(pod.Ip!, table, StringComparison.Ordinal));
        Assert.All(pods, pod => Assert.Contains(pod.Node!, table, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_message_written_through_the_leader_is_read_from_a_follower()
    {
        Uri page = await FrontendAsync();
        string message = $"hello {Guid.NewGuid():N}";

        using HttpResponseMessage stored = await Eventually.GetAsync(
            "the front end stores a message",
            token => Browser.GetAsync(new Uri(page, $"cgi-bin/set?value={Uri.EscapeDataString(message)}"), token),
            answer => answer.IsSuccessStatusCode);
        string messages = await Eventually.GetAsync(
            "a follower has the message",
            token => Browser.GetStringAsync(new Uri(page, "cgi-bin/get"), token),
            text => text.Contains(message, StringComparison.Ordinal));
        string html = await Browser.GetStringAsync(page, TestContext.Current.CancellationToken);

        Assert.Contains(message, messages, StringComparison.Ordinal);
        Assert.Contains($"<li>{message}</li>", html, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_services_requests_reach_every_ready_frontend_in_turn()
    {
        Uri page = await FrontendAsync();
        IReadOnlyList<Pod> pods = await ServingAsync("-l app=guestbook", 3);
        var answers = new List<string>();
        for (int request = 0; request < 12; request++)
        {
            // A connection of its own for each request: a service spreads connections, not requests.
            using var client = new HttpClient { Timeout = TimeSpan.FromSeconds(5) };
            string html = await client.GetStringAsync(page, TestContext.Current.CancellationToken);
            answers.Add(pods.Single(pod => html.Contains($"<b>{pod.Name}</b>", StringComparison.Ordinal)).Name);
        }

        Assert.All(answers.GroupBy(name => name, StringComparer.Ordinal), group => Assert.Equal(4, group.Count()));
    }

    [Fact]
    public async Task A_deleted_pod_is_replaced_at_once()
    {
        IReadOnlyList<Pod> before = await ServingAsync("-l app=guestbook", 3);
        Pod victim = before[0];

        long begin = Stopwatch.GetTimestamp();
        string output = await Kubectl.RunAsync($"delete pod {victim.Name} --wait=false");
        IReadOnlyList<Pod> after = await Eventually.GetAsync(
            "another pod exists in its place",
            _ => Kubectl.PodsAsync("-l app=guestbook"),
            pods => pods.Any(pod => before.All(old => old.Uid != pod.Uid)));
        TimeSpan replacedAfter = Stopwatch.GetElapsedTime(begin);
        await ServingAsync("-l app=guestbook", 3);
        await Eventually.TrueAsync(
            "the deleted pod's containers are gone", async token => (await Docker.ContainersOfAsync(victim.Uid, token)).Count == 0);

        Assert.Contains($"pod \"{victim.Name}\" deleted", output, StringComparison.Ordinal);
        Assert.Contains(after, pod => before.All(old => old.Uid != pod.Uid));
        Assert.True(replacedAfter < TimeSpan.FromSeconds(5), $"It took {replacedAfter}.");
    }

    [Fact]
    public async Task A_killed_container_is_restarted_and_counted()
    {
        Pod before = (await ServingAsync("-l app=guestbook", 3))[0];

        await Docker.RunAsync("kill", before.ContainerIds[0]);
        Pod after = await Eventually.GetAsync(
            "the container runs again",
            _ => PodAsync(before.Name),
            pod => pod.Serves && pod.Restarts == before.Restarts + 1 && pod.ContainerIds[0] != before.ContainerIds[0]);
        string table = await Kubectl.RunAsync($"get pod {before.Name} --no-headers");

        Assert.Equal(before.Uid, after.Uid);
        Assert.Equal(before.Ip, after.Ip);
        Assert.Matches($@"^{before.Name}\s+1/1\s+Running\s+{after.Restarts}\s", table);
    }

    [Fact]
    public async Task Scaling_adds_pods_and_takes_them_away_again()
    {
        await ServingAsync("-l app=guestbook", 3);

        string output = await Kubectl.RunAsync("scale rc frontend --replicas=5");
        await ServingAsync("-l app=guestbook", 5);
        string controller = await Kubectl.RunAsync("get rc frontend --no-headers");
        await Kubectl.RunAsync("scale rc frontend --replicas=3");
        await Cluster.EventuallyPodsAsync("two pods are gone", "-l app=guestbook", pods => pods.Count == 3 && pods.All(pod => pod.Serves));

        Assert.Contains("replicationcontroller/frontend scaled", output, StringComparison.Ordinal);
        Assert.Matches(@"^frontend\s+5\s+5\s+5\s", controller);
    }

    [Fact]
    public async Task Logs_are_printed_and_followed()
    {
        string name = $"talker-{Guid.NewGuid():N}";
        await Kubectl.ApplyAsync(Manifests.Pod(
            name, "i=0; trap 'exit 0' TERM; while :; do i=$((i+1)); echo line $i; sleep 0.2 & wait $!; done"));
        await Cluster.EventuallyPodsAsync("it runs", $"-l app={name}", pods => pods is [{ Serves: true }]);

        using Process follow = Kubectl.Start($"logs -f {name}");
        var lines = new List<string>();
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        while (lines.Count < 20 && await follow.StandardOutput.ReadLineAsync(limit.Token) is { } line)
            lines.Add(line);
        follow.Kill();
        string tail = await Kubectl.RunAsync($"logs {name} --tail=2");
        string stamped = await Kubectl.RunAsync($"logs {name} --tail=1 --timestamps");
        await Kubectl.RunAsync($"delete pod {name} --wait=false");

        Assert.Equal([.. Enumerable.Range(1, 20).Select(number => $"line {number}")], lines);
        Assert.Equal(2, tail.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        Assert.Matches(@"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z line \d+", stamped);
    }

    [Fact]
    public async Task Logs_of_the_container_before_the_restart_are_kept()
    {
        string name = $"crasher-{Guid.NewGuid():N}";
        await Kubectl.ApplyAsync(Manifests.Pod(name, "echo started at $(cut -d' ' -f1 /proc/uptime); sleep 1; exit 3"));
        await Cluster.EventuallyPodsAsync("it was restarted", $"-l app={name}", pods => pods is [{ Restarts: >= 1 }]);

        string previous = await Kubectl.RunAsync($"logs {name} --previous");
        JsonNode pod = await Kubectl.GetAsync($"pod {name}");
        await Kubectl.RunAsync($"delete pod {name} --wait=false");

        Assert.StartsWith("started at ", previous, StringComparison.Ordinal);
        Assert.Equal(3, (int)pod["status"]!["containerStatuses"]![0]!["lastState"]!["terminated"]!["exitCode"]!);
    }

    [Fact]
    public async Task Exec_passes_output_input_and_the_exit_code()
    {
        Pod pod = (await ServingAsync("-l app=guestbook", 3))[0];

        CommandResult echo = await Kubectl.TryAsync(["exec", pod.Name, "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
        CommandResult cat = await Kubectl.TryAsync(["exec", "-i", pod.Name, "--", "cat"], "typed in\n");
        CommandResult name = await Kubectl.TryAsync($"exec {pod.Name} -- hostname");
        CommandResult missing = await Kubectl.TryAsync($"exec {pod.Name} -- no-such-program");

        Assert.Equal((7, "out\n"), (echo.ExitCode, echo.Output));
        Assert.Contains("err", echo.Error, StringComparison.Ordinal);
        Assert.Equal((0, "typed in\n"), (cat.ExitCode, cat.Output));
        Assert.Equal(pod.Name, name.OrFail().Output.Trim());
        Assert.NotEqual(0, missing.ExitCode);
        Assert.Contains("no-such-program", missing.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_pod_sees_the_services_that_existed_when_it_started()
    {
        Pod pod = (await ServingAsync("-l app=guestbook", 3))[0];
        string address = (string)(await Kubectl.GetAsync("service redis-leader"))["spec"]!["clusterIP"]!;

        string environment = await Kubectl.RunAsync($"exec {pod.Name} -- env");

        Assert.Contains($"REDIS_LEADER_SERVICE_HOST={address}\n", environment, StringComparison.Ordinal);
        Assert.Contains("REDIS_LEADER_SERVICE_PORT=6379\n", environment, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Describe_tells_a_pods_story_and_ends_with_its_events()
    {
        Pod pod = (await ServingAsync("-l role=leader", 1))[0];

        string text = await Kubectl.RunAsync($"describe pod {pod.Name}");

        Assert.All(
            [
                $"Name:             {pod.Name}", $"IP:               {pod.Ip}", "Controlled By:  ReplicationController/redis-leader",
                "Image:         redis:7", "State:          Running", "Ready:          True", "Restart Count:  0", "Liveness:", "Readiness:",
                "Successfully assigned default/", "Container image \"redis:7\" already present on machine", "Created container", "Started container redis",
            ],
            part => Assert.Contains(part, text, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Events_tell_what_controllers_scheduler_and_kubelet_did()
    {
        string events = await Kubectl.RunAsync("get events");

        Assert.Matches(@"(?m)^LAST SEEN\s+TYPE\s+REASON\s+OBJECT\s+MESSAGE", events);
        Assert.Matches(@"(?m)Normal\s+SuccessfulCreate\s+replicationcontroller/frontend\s+Created pod: frontend-", events);
        Assert.Matches(@"(?m)Normal\s+Scheduled\s+pod/frontend-", events);
        Assert.Matches(@"(?m)Normal\s+Started\s+pod/frontend-", events);
    }

    [Fact]
    public async Task Endpoints_list_the_ready_pods()
    {
        IReadOnlyList<Pod> pods = await ServingAsync("-l app=guestbook", 3);

        string endpoints = await Eventually.GetAsync(
            "the endpoints hold every pod",
            _ => Kubectl.RunAsync("get endpoints frontend --no-headers"),
            text => pods.All(pod => text.Contains($"{pod.Ip}:8080", StringComparison.Ordinal)));
        string slices = await Kubectl.RunAsync("get endpointslices -l kubernetes.io/service-name=frontend --no-headers");

        Assert.DoesNotContain("<none>", endpoints, StringComparison.Ordinal);
        Assert.All(pods, pod => Assert.Contains(pod.Ip!, slices, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_watch_prints_a_line_for_every_change()
    {
        string name = $"watched-{Guid.NewGuid():N}";
        using Process watch = Kubectl.Start($"get pods -l app={name} -o wide --watch --no-headers");
        await Kubectl.ApplyAsync(Manifests.Pod(name));
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        var lines = new List<string>();
        while (!lines.Any(line => line.Contains(" Running ", StringComparison.Ordinal))
            && await watch.StandardOutput.ReadLineAsync(limit.Token) is { } line)
        {
            lines.Add(line);
        }

        watch.Kill();
        await Kubectl.RunAsync($"delete pod {name} --wait=false");

        Assert.Matches($@"^{name}\s+1/1\s+Running\s+0\s", lines[^1]);
    }

    private Task<IReadOnlyList<Pod>> ServingAsync(string selection, int count) =>
        Cluster.EventuallyPodsAsync($"{count} pods {selection} serve", selection, pods => pods.Count == count && pods.All(pod => pod.Serves));

    private async Task<Pod> PodAsync(string name) => new(await Kubectl.GetAsync($"pod {name}"));

    private async Task<Uri> FrontendAsync()
    {
        await ServingAsync("-l app=guestbook", 3);
        return new Uri($"http://{await Cluster.NodeAddressAsync()}:30090/");
    }
}
