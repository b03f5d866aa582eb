using System.Text;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Tests.Runtime;

/// <summary>
/// What every container runtime must do, whatever engine is behind it. An implementation says how its containers are told to run for ever, to exit, and to
/// print; all else is common.
/// </summary>
public abstract class ContainerRuntimeBattery : IAsyncLifetime
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly CancellationTokenSource _events = new();
    private readonly List<RuntimeEvent> _seen = [];
    private Task? _watching;

    protected static CancellationToken Stop => TestContext.Current.CancellationToken;

    protected abstract IContainerRuntime Runtime { get; }

    protected abstract string Image { get; }

    /// <summary>A container that runs until it is stopped, and ends with 143 on the polite signal.</summary>
    protected abstract ContainerSpec RunsForever(PodIdentity pod, string name);

    /// <summary>A container that exits at once.</summary>
    protected abstract ContainerSpec Exits(PodIdentity pod, string name, int exitCode);

    /// <summary>A container whose program does not exist.</summary>
    protected abstract ContainerSpec CannotStart(PodIdentity pod, string name);

    /// <summary>Annotations of all sandboxes; a runtime that cannot run commands is told by them what <see cref="Exits"/> means.</summary>
    protected virtual IReadOnlyDictionary<string, string> Annotations(int exitCode) => new Dictionary<string, string>();

    public abstract ValueTask InitializeAsync();

    public virtual async ValueTask DisposeAsync()
    {
        await _events.CancelAsync();
        if (_watching is not null)
        {
            await _watching.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        foreach (var container in await Runtime.ListContainersAsync(CancellationToken.None))
        {
            await Runtime.RemoveContainerAsync(container.Id, CancellationToken.None);
        }

        foreach (var sandbox in await Runtime.ListSandboxesAsync(CancellationToken.None))
        {
            await Runtime.RemoveSandboxAsync(sandbox.Id, CancellationToken.None);
        }

        _events.Dispose();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public async Task Version_names_the_engine_and_its_machine()
    {
        var version = await Runtime.GetVersionAsync(Stop);
        Assert.NotEmpty(version.Name);
        Assert.NotEmpty(version.Version);
        Assert.True(version.CpuCount > 0);
        Assert.True(version.MemoryBytes > 0);
    }

    [Fact]
    public async Task Sandbox_lives_from_creation_to_removal()
    {
        var pod = NewPod();
        var created = await Runtime.CreateSandboxAsync(SandboxOf(pod), Stop);
        Assert.False(created.Running);

        var started = await Runtime.StartSandboxAsync(created.Id, Stop);
        Assert.True(started.Running);
        Assert.NotNull(started.PodIP);
        Assert.Equal(pod, started.Pod);
        Assert.Equal(started.PodIP, (await Runtime.StartSandboxAsync(created.Id, Stop)).PodIP);
        Assert.Contains(await Runtime.ListSandboxesAsync(Stop), sandbox => sandbox.Id == created.Id && sandbox.Running && sandbox.Pod == pod);

        await Runtime.RemoveSandboxAsync(created.Id, Stop);
        await Runtime.RemoveSandboxAsync(created.Id, Stop);
        Assert.Null(await Runtime.InspectSandboxAsync(created.Id, Stop));
    }

    [Fact]
    public async Task Sandboxes_have_addresses_of_their_own()
    {
        var first = await StartedSandboxAsync(NewPod());
        var second = await StartedSandboxAsync(NewPod());
        Assert.NotEqual(first.PodIP, second.PodIP);
    }

    [Fact]
    public async Task CreateSandbox_again_replaces_what_was_left_over()
    {
        var pod = NewPod();
        var first = await Runtime.CreateSandboxAsync(SandboxOf(pod), Stop);
        var second = await Runtime.CreateSandboxAsync(SandboxOf(pod), Stop);
        Assert.NotEqual(first.Id, second.Id);
        Assert.Null(await Runtime.InspectSandboxAsync(first.Id, Stop));
        Assert.True((await Runtime.StartSandboxAsync(second.Id, Stop)).Running);
    }

    [Fact]
    public async Task Container_runs_until_it_is_stopped_politely()
    {
        var pod = NewPod();
        var sandbox = await StartedSandboxAsync(pod);
        var id = await StartedAsync(sandbox, RunsForever(pod, "app") with { Attempt = 3 });

        var running = await Runtime.InspectContainerAsync(id, Stop);
        Assert.NotNull(running);
        Assert.Equal(ContainerState.Running, running.State);
        Assert.Equal((pod, "app", 3, sandbox.Id), (running.Pod, running.Name, running.Attempt, running.SandboxId));
        Assert.NotNull(running.StartedAt);
        Assert.Null(running.FinishedAt);

        await Runtime.StartContainerAsync(id, Stop);
        await FirstOutputAsync(Runtime, id); // Before that a shell has no handler yet, and process 1 ignores what it does not handle.
        await Runtime.StopContainerAsync(id, Stop);
        var ended = await EndedAsync(id);
        Assert.Equal(143, ended.ExitCode);
        Assert.Equal("Error", ended.TerminationReason);
        Assert.True(ended.FinishedAt >= ended.StartedAt);

        await Runtime.StopContainerAsync(id, Stop);
        await Runtime.KillContainerAsync(id, Stop);
    }

    [Fact]
    public async Task KillContainer_ends_with_137()
    {
        var pod = NewPod();
        var id = await StartedAsync(await StartedSandboxAsync(pod), RunsForever(pod, "app"));
        await Runtime.KillContainerAsync(id, Stop);
        Assert.Equal(137, (await EndedAsync(id)).ExitCode);
    }

    [Theory]
    [InlineData(0, "Completed")]
    [InlineData(3, "Error")]
    public async Task Container_that_exits_tells_code_and_reason(int exitCode, string reason)
    {
        var pod = NewPod();
        var id = await StartedAsync(await StartedSandboxAsync(pod), Exits(pod, "app", exitCode));
        var ended = await EndedAsync(id);
        Assert.Equal((exitCode, reason), (ended.ExitCode, ended.TerminationReason));
        Assert.Equal(0, ended.Pid);
    }

    [Fact]
    public async Task Container_that_cannot_start_fails_and_counts_as_exited()
    {
        var pod = NewPod();
        var sandbox = await StartedSandboxAsync(pod);
        var id = await Runtime.CreateContainerAsync(sandbox.Id, CannotStart(pod, "app"), Stop);
        var failure = await Assert.ThrowsAsync<RuntimeException>(() => Runtime.StartContainerAsync(id, Stop));
        Assert.Equal(RuntimeFailure.StartContainer, failure.Failure);
        Assert.Equal("RunContainerError", failure.Reason);

        var status = await Runtime.InspectContainerAsync(id, Stop);
        Assert.NotNull(status);
        Assert.Equal(ContainerState.Exited, status.State);
        Assert.Equal(128, status.ExitCode);
        Assert.Equal("StartError", status.TerminationReason);
        Assert.NotEmpty(status.StartError!);
    }

    [Fact]
    public async Task CreateContainer_again_replaces_what_was_left_over()
    {
        var pod = NewPod();
        var sandbox = await StartedSandboxAsync(pod);
        var first = await Runtime.CreateContainerAsync(sandbox.Id, RunsForever(pod, "app"), Stop);
        var second = await Runtime.CreateContainerAsync(sandbox.Id, RunsForever(pod, "app"), Stop);
        Assert.NotEqual(first, second);
        Assert.Null(await Runtime.InspectContainerAsync(first, Stop));
    }

    [Fact]
    public async Task CreateContainer_without_its_image_fails()
    {
        var pod = NewPod();
        var sandbox = await StartedSandboxAsync(pod);
        var spec = RunsForever(pod, "app") with { Image = "example.invalid/not-there:1" };
        var failure = await Assert.ThrowsAsync<RuntimeException>(() => Runtime.CreateContainerAsync(sandbox.Id, spec, Stop));
        Assert.Equal("CreateContainerError", failure.Reason);
    }

    [Fact]
    public async Task Unknown_container_is_null_and_its_removal_succeeds()
    {
        Assert.Null(await Runtime.InspectContainerAsync("0123456789abcdef", Stop));
        Assert.Null(await Runtime.GetStatsAsync("0123456789abcdef", Stop));
        await Runtime.RemoveContainerAsync("0123456789abcdef", Stop);
        await Runtime.StopContainerAsync("0123456789abcdef", Stop);
        await Runtime.KillContainerAsync("0123456789abcdef", Stop);
    }

    [Fact]
    public async Task ListContainers_has_running_and_ended_ones_but_no_sandboxes()
    {
        var pod = NewPod();
        var sandbox = await StartedSandboxAsync(pod);
        var running = await StartedAsync(sandbox, RunsForever(pod, "run"));
        var ended = await StartedAsync(sandbox, Exits(pod, "end", 1));
        await EndedAsync(ended);

        var listed = await Runtime.ListContainersAsync(Stop);
        Assert.Equal(
            [(ended, ContainerState.Exited), (running, ContainerState.Running)],
            listed.Where(container => container.Pod == pod).OrderBy(container => container.State == ContainerState.Running)
                .Select(container => (container.Id, container.State)));
    }

    [Fact]
    public async Task Events_tell_start_death_and_removal_after_a_resync()
    {
        await WatchAsync();
        var pod = NewPod();
        var sandbox = await StartedSandboxAsync(pod);
        var id = await StartedAsync(sandbox, Exits(pod, "app", 7));
        var died = await SeenAsync(happened => happened.Kind == RuntimeEventKind.Died && happened.Id == id);
        Assert.Equal((pod, Exits(pod, "app", 7).Name, 7), (died.Pod, died.ContainerName, died.ExitCode));
        await SeenAsync(happened => happened.Kind == RuntimeEventKind.Started && happened.Id == id);

        await Runtime.RemoveContainerAsync(id, Stop);
        await Runtime.RemoveSandboxAsync(sandbox.Id, Stop);
        await SeenAsync(happened => happened.Kind == RuntimeEventKind.Removed && happened.Id == id);
        var gone = await SeenAsync(happened => happened.Kind == RuntimeEventKind.Died && happened.Id == sandbox.Id);
        Assert.Null(gone.ContainerName);
    }

    [Fact]
    public async Task Logs_that_are_followed_end_with_the_container()
    {
        var pod = NewPod();
        var id = await StartedAsync(await StartedSandboxAsync(pod), RunsForever(pod, "app"));
        using var output = new MemoryStream();
        var reading = Runtime.ReadLogsAsync(id, new LogQuery { Follow = true }, output, output, Stop);
        await Runtime.KillContainerAsync(id, Stop);
        await reading.WaitAsync(Patience, Stop);
    }

    [Fact]
    public async Task Logs_can_be_limited_by_lines_and_bytes_and_carry_times()
    {
        var pod = NewPod();
        var id = await StartedAsync(await StartedSandboxAsync(pod), Exits(pod, "app", 0));
        await EndedAsync(id);
        var all = await LogAsync(id, new LogQuery());
        Assert.NotEmpty(all);
        var last = await LogAsync(id, new LogQuery { TailLines = 1 });
        Assert.EndsWith(last, all, StringComparison.Ordinal);
        Assert.Equal(1, last.Count(character => character == '\n'));
        Assert.Equal("", await LogAsync(id, new LogQuery { TailLines = 0 }));
        Assert.Equal(all[..3], await LogAsync(id, new LogQuery { LimitBytes = 3 }));
        Assert.Matches(@"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ", await LogAsync(id, new LogQuery { Timestamps = true }));
        Assert.Equal("", await LogAsync(id, new LogQuery { Since = DateTimeOffset.UnixEpoch.AddYears(200) }));
    }

    [Fact]
    public async Task Stats_of_a_running_container_have_memory_and_none_of_an_ended_one()
    {
        var pod = NewPod();
        var id = await StartedAsync(await StartedSandboxAsync(pod), RunsForever(pod, "app"));
        Assert.NotNull(await Runtime.GetStatsAsync(id, Stop));
        while ((await Runtime.GetStatsAsync(id, Stop))!.MemoryWorkingSetBytes == 0)
        {
            // The kernel accounts in batches: a moment after the start it may not have charged anything yet.
        }

        await Runtime.KillContainerAsync(id, Stop);
        await EndedAsync(id);
        Assert.Null(await Runtime.GetStatsAsync(id, Stop));
    }

    [Fact]
    public async Task Images_are_found_by_name_and_bad_names_are_refused()
    {
        Assert.NotNull(await Runtime.Images.FindAsync(Image, Stop));
        Assert.Null(await Runtime.Images.FindAsync("example.invalid/not-there:1", Stop));
        var failure = await Assert.ThrowsAsync<RuntimeException>(() => Runtime.Images.FindAsync("Not A Name", Stop));
        Assert.Equal("InvalidImageName", failure.Reason);
        failure = await Assert.ThrowsAsync<RuntimeException>(() => Runtime.Images.PullAsync("UPPER/Case", null, Stop));
        Assert.Equal("InvalidImageName", failure.Reason);
        failure = await Assert.ThrowsAsync<RuntimeException>(() => Runtime.Images.PullAsync("localhost:1/not-there:1", null, Stop));
        Assert.Equal("ErrImagePull", failure.Reason);
        await Runtime.Images.RemoveAsync("example.invalid/not-there:1", Stop);
    }

    protected static PodIdentity NewPod([System.Runtime.CompilerServices.CallerMemberName] string test = "") =>
        new("battery", $"{test.ToLowerInvariant().Replace('_', '-')[..Math.Min(40, test.Length)]}", Guid.NewGuid().ToString());

    protected SandboxSpec SandboxOf(PodIdentity pod) => new()
    {
        Pod = pod,
        Hostname = "box",
        Annotations = new[] { 0, 1, 3, 7 }.SelectMany(Annotations).DistinctBy(annotation => annotation.Key).ToDictionary(),
    };

    protected async Task<SandboxStatus> StartedSandboxAsync(PodIdentity pod)
    {
        var sandbox = await Runtime.CreateSandboxAsync(SandboxOf(pod), Stop);
        return await Runtime.StartSandboxAsync(sandbox.Id, Stop);
    }

    protected async Task<string> StartedAsync(SandboxStatus sandbox, ContainerSpec spec)
    {
        var id = await Runtime.CreateContainerAsync(sandbox.Id, spec, Stop);
        await Runtime.StartContainerAsync(id, Stop);
        return id;
    }

    protected async Task<ContainerStatus> EndedAsync(string id)
    {
        await WatchAsync();
        for (var signal = 0; ; signal++)
        {
            Task changed;
            lock (_seen)
            {
                changed = Changed.Task;
            }

            var status = await Runtime.InspectContainerAsync(id, Stop);
            if (status is { State: ContainerState.Exited })
            {
                return status;
            }

            await changed.WaitAsync(Patience, Stop);
        }
    }

    /// <summary>Waits until the container has written something.</summary>
    internal static async Task FirstOutputAsync(IContainerRuntime runtime, string id)
    {
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(Stop);
        var pipe = new System.IO.Pipelines.Pipe();
        await using var writer = pipe.Writer.AsStream();
        var reading = runtime.ReadLogsAsync(id, new LogQuery { Follow = true }, writer, writer, enough.Token);
        await pipe.Reader.ReadAsync(Stop);
        await enough.CancelAsync();
        await reading.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    protected async Task<string> LogAsync(string id, LogQuery query)
    {
        using var output = new MemoryStream();
        await Runtime.ReadLogsAsync(id, query, output, output, Stop);
        return Encoding.UTF8.GetString(output.ToArray());
    }

    private TaskCompletionSource Changed { get; set; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    protected async Task<RuntimeEvent> SeenAsync(Func<RuntimeEvent, bool> wanted)
    {
        while (true)
        {
            Task changed;
            lock (_seen)
            {
                if (_seen.Find(wanted.Invoke) is { } found)
                {
                    return found;
                }

                changed = Changed.Task;
            }

            await changed.WaitAsync(Patience, Stop);
        }
    }

    /// <summary>Starts to gather events, once, and waits for the first Resync.</summary>
    protected async Task WatchAsync()
    {
        _watching ??= Gather();
        await SeenAsync(happened => happened.Kind == RuntimeEventKind.Resync);

        async Task Gather()
        {
            await foreach (var happened in Runtime.WatchEventsAsync(_events.Token))
            {
                TaskCompletionSource changed;
                lock (_seen)
                {
                    _seen.Add(happened);
                    changed = Changed;
                    Changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
                }

                changed.SetResult();
            }
        }
    }
}
