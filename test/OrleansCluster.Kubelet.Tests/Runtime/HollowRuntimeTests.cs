using System.Net;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Tests.Runtime;

/// <summary>The battery on the simulated runtime, and what only it can do.</summary>
public sealed class HollowRuntimeTests : ContainerRuntimeBattery
{
    private const string EndsName = "ends", FailsName = "fails";

    private HollowRuntime? _runtime;

    protected override IContainerRuntime Runtime => _runtime!;

    protected override string Image => "busybox:local";

    public override ValueTask InitializeAsync()
    {
        _runtime = new HollowRuntime(Options(), TimeProvider.System);
        return ValueTask.CompletedTask;
    }

    protected override IReadOnlyDictionary<string, string> Annotations(int exitCode) => new Dictionary<string, string>
    {
        [$"{HollowRuntime.ExitCodeAnnotation}.{EndsName}{exitCode}"] = exitCode.ToString(System.Globalization.CultureInfo.InvariantCulture),
        [$"{HollowRuntime.StartErrorAnnotation}.{FailsName}"] = "no such program",
    };

    protected override ContainerSpec RunsForever(PodIdentity pod, string name) => new() { Pod = pod, Name = name, Image = Image };

    protected override ContainerSpec Exits(PodIdentity pod, string name, int exitCode) => RunsForever(pod, EndsName + exitCode);

    protected override ContainerSpec CannotStart(PodIdentity pod, string name) => RunsForever(pod, FailsName);

    [Fact]
    public async Task Exit_ends_a_container_as_if_its_process_had()
    {
        var pod = NewPod();
        var id = await StartedAsync(await StartedSandboxAsync(pod), RunsForever(pod, "app"));
        Assert.True(_runtime!.Exit(id, 137, outOfMemory: true));
        Assert.False(_runtime.Exit(id, 1));
        Assert.Equal("OOMKilled", (await EndedAsync(id)).TerminationReason);
    }

    [Fact]
    public async Task Images_are_absent_until_pulled_if_so_configured()
    {
        var options = Options();
        options.AllImagesPresent = false;
        options.MissingImages.Add("gone:1");
        await using var runtime = new HollowRuntime(options, TimeProvider.System);
        Assert.Null(await runtime.Images.FindAsync("app:1", Stop));
        await runtime.Images.PullAsync("app:1", null, Stop);
        Assert.NotNull(await runtime.Images.FindAsync("app:1", Stop));
        var failure = await Assert.ThrowsAsync<RuntimeException>(() => runtime.Images.PullAsync("gone:1", null, Stop));
        Assert.Equal("ErrImagePull", failure.Reason);
    }

    [Fact]
    public async Task Pod_costs_less_than_two_kilobytes()
    {
        const int pods = 10_000;
        await using var runtime = new HollowRuntime(new HollowRuntimeOptions { Subnet = IPNetwork.Parse("10.0.0.0/16") }, TimeProvider.System);
        var before = GC.GetTotalMemory(forceFullCollection: true);
        for (var index = 0; index < pods; index++)
        {
            var pod = new PodIdentity("default", "pod-" + index, index.ToString("x32", System.Globalization.CultureInfo.InvariantCulture));
            var sandbox = await runtime.CreateSandboxAsync(SandboxOf(pod), Stop);
            await runtime.StartSandboxAsync(sandbox.Id, Stop);
            await runtime.StartContainerAsync(await runtime.CreateContainerAsync(sandbox.Id, RunsForever(pod, "app"), Stop), Stop);
        }

        var each = (GC.GetTotalMemory(forceFullCollection: true) - before) / pods;
        Assert.InRange(each, 1, 2048);
    }

    private static HollowRuntimeOptions Options()
    {
        var options = new HollowRuntimeOptions { Subnet = IPNetwork.Parse("10.244.1.0/24") };
        options.MissingImages.Add("example.invalid/not-there:1");
        options.MissingImages.Add("localhost:1/not-there:1");
        return options;
    }
}
