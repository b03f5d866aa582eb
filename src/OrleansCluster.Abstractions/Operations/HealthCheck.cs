namespace OrleansCluster.Operations;

/// <summary>What a failed check means for the process.</summary>
public enum HealthImpact
{
    /// <summary>Worth knowing, but no reason to do anything to the process: shown, never counted.</summary>
    Report,

    /// <summary>The process should get no traffic now: `/readyz` fails.</summary>
    Readiness,

    /// <summary>The process will not get well by itself and should be restarted: `/livez` fails too.</summary>
    Liveness,
}

/// <summary>One thing that the health endpoints of a role ask about. A check is one registration of such a singleton.</summary>
/// <param name="Name">Name in the answer and in `/readyz/NAME`: lower case, digits and dashes.</param>
/// <param name="Impact">What a failure means.</param>
/// <param name="CheckAsync">
/// Null if all is well, else what is wrong, in words that anybody may read: the endpoints ask for no credential. An exception counts as a failure and
/// only its type is told. Must not change anything and must not be slow: it is cancelled after <see cref="HealthChecks.CheckTimeout"/>.
/// </param>
public sealed record HealthCheck(string Name, HealthImpact Impact, Func<CancellationToken, ValueTask<string?>> CheckAsync)
{
    /// <summary>A check that needs not wait.</summary>
    /// <param name="name">See <see cref="Name"/>.</param>
    /// <param name="impact">See <see cref="Impact"/>.</param>
    /// <param name="check">See <see cref="CheckAsync"/>.</param>
    public static HealthCheck Of(string name, HealthImpact impact, Func<string?> check) =>
        new(name, impact, _ => ValueTask.FromResult(check()));
}
