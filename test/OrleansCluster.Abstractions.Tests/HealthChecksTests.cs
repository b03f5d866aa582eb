using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using OrleansCluster.Operations;

namespace OrleansCluster.Abstractions.Tests;

public sealed class HealthChecksTests
{
    private static readonly HealthCheck Good = HealthCheck.Of("good", HealthImpact.Readiness, static () => null);
    private static readonly HealthCheck Bad = HealthCheck.Of("bad", HealthImpact.Readiness, static () => "is broken");
    private static readonly HealthCheck Dead = HealthCheck.Of("dead", HealthImpact.Liveness, static () => "has hung");
    private static readonly HealthCheck Note = HealthCheck.Of("note", HealthImpact.Report, static () => "is away");

    [Fact]
    public async Task Ready_WithoutVerbose_SaysOkAlone()
    {
        Assert.Equal(new HealthAnswer(200, "ok"), await AskAsync("/readyz", [Good]));
        Assert.Equal(new HealthAnswer(200, "ok"), await AskAsync("/healthz", [Good, Bad]));
    }

    [Fact]
    public async Task Ready_Verbose_HasALinePerCheck() => Assert.Equal(
        new HealthAnswer(200, "[+]ping ok\n[+]good ok\n[!]note not counted: is away\n[+]shutdown ok\nreadyz check passed\n"),
        await AskAsync("/readyz", [Good, Note], verbose: true));

    [Fact]
    public async Task AFailure_IsAlwaysToldInFull() => Assert.Equal(
        new HealthAnswer(500, "[+]ping ok\n[-]bad failed: is broken\n[+]shutdown ok\nreadyz check failed\n"), await AskAsync("/readyz", [Bad]));

    [Fact]
    public async Task Live_AsksOnlyWhatARestartWouldCure()
    {
        Assert.Equal(200, (await AskAsync("/livez", [Bad, Note])).Code);
        Assert.Equal(500, (await AskAsync("/livez", [Bad, Dead])).Code);
    }

    [Fact]
    public async Task Exclude_LeavesAChecksFailureOut_AndWarnsOfUnknownNames()
    {
        var answer = await AskAsync("/readyz", [Bad], verbose: true, "bad", "nothing");
        Assert.Equal(
            new HealthAnswer(
                200, "[+]ping ok\n[+]bad excluded: ok\n[+]shutdown ok\nwarn: some health checks cannot be excluded: no matches for \"nothing\"\nreadyz check passed\n"),
            answer);
    }

    [Theory]
    [InlineData("/readyz/good", 200)]
    [InlineData("/readyz/bad", 500)]
    [InlineData("/livez/bad", 404)]
    [InlineData("/readyz/nothing", 404)]
    public async Task APathBelow_AsksOneCheck(string path, int code) => Assert.Equal(code, (await AskAsync(path, [Good, Bad])).Code);

    [Fact]
    public async Task ACheckThatThrows_TellsTheTypeOnly()
    {
        var answer = await AskAsync("/readyz/x", [new HealthCheck("x", HealthImpact.Readiness, _ => throw new InvalidOperationException("password is 123"))]);
        Assert.Equal(500, answer.Code);
        Assert.Contains("[-]x failed: InvalidOperationException", answer.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("123", answer.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ACheckThatHangs_FailsInTime_AndIsCancelled()
    {
        var time = new Microsoft.Extensions.Time.Testing.FakeTimeProvider();
        var cancelled = new TaskCompletionSource();
        var begun = new TaskCompletionSource();
        var hangs = new HealthCheck("hangs", HealthImpact.Readiness, async token =>
        {
            token.Register(cancelled.SetResult);
            begun.SetResult();
            await new TaskCompletionSource().Task;
            return null;
        });
        using var shutdown = new GracefulShutdown(new Lifetime(), time);
        var answer = new HealthChecks([hangs], shutdown, time).AnswerAsync("/readyz", false, [], TestContext.Current.CancellationToken).AsTask();
        await begun.Task;
        time.Advance(HealthChecks.CheckTimeout);
        Assert.Contains("[-]hangs failed: no answer in time", (await answer).Text, StringComparison.Ordinal);
        await cancelled.Task.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task AProcessThatShutsDown_IsAliveButNotReady()
    {
        var lifetime = new Lifetime();
        using var shutdown = new GracefulShutdown(lifetime, TimeProvider.System);
        var checks = new HealthChecks([Good], shutdown, TimeProvider.System);
        await lifetime.StopAsync();
        Assert.Equal(503, (await checks.AnswerAsync("/readyz", false, [], TestContext.Current.CancellationToken)).Code);
        Assert.Equal(200, (await checks.AnswerAsync("/livez", false, [], TestContext.Current.CancellationToken)).Code);
        Assert.False(shutdown.Ending.IsCancellationRequested);
        await shutdown.StoppingAsync(TestContext.Current.CancellationToken);
        Assert.True(shutdown.Ending.IsCancellationRequested);
    }

    [Fact]
    public async Task TheDelay_KeepsServingUntilItIsOver()
    {
        var time = new Microsoft.Extensions.Time.Testing.FakeTimeProvider();
        using var shutdown = new GracefulShutdown(new Lifetime(), time) { Delay = TimeSpan.FromSeconds(3) };
        var stopping = shutdown.StoppingAsync(TestContext.Current.CancellationToken);
        Assert.True(shutdown.HasBegun);
        Assert.False(shutdown.Ending.IsCancellationRequested);
        time.Advance(TimeSpan.FromSeconds(3));
        await stopping;
        Assert.True(shutdown.Ending.IsCancellationRequested);
    }

    [Fact]
    public void AddHealthCheck_IsOneRegistrationPerCheck()
    {
        var services = new ServiceCollection();
        services.AddSingleton<IHostApplicationLifetime, Lifetime>();
        services.AddHealthCheck(_ => Good).AddHealthCheck(_ => Bad);
        using var provider = services.BuildServiceProvider();
        Assert.Equal([Good, Bad], provider.GetServices<HealthCheck>());
        Assert.NotNull(provider.GetRequiredService<HealthChecks>());
        Assert.Single(provider.GetServices<IHostedService>());
    }

    private static async Task<HealthAnswer> AskAsync(string path, HealthCheck[] checks, bool verbose = false, params string[] exclude)
    {
        using var shutdown = new GracefulShutdown(new Lifetime(), TimeProvider.System);
        return await new HealthChecks(checks, shutdown, TimeProvider.System).AnswerAsync(path, verbose, exclude, TestContext.Current.CancellationToken);
    }

    private sealed class Lifetime : IHostApplicationLifetime, IDisposable
    {
        private readonly CancellationTokenSource _stopping = new();

        public CancellationToken ApplicationStarted => default;

        public CancellationToken ApplicationStopping => _stopping.Token;

        public CancellationToken ApplicationStopped => default;

        public void StopApplication() => _stopping.Cancel();

        public Task StopAsync() => _stopping.CancelAsync();

        public void Dispose() => _stopping.Dispose();
    }
}
